//! Which names say that what they name is a secret: of attributes, headers, parameters of URLs, and settings of
//! connections. Upper and lower case, `-`, `_` and `.` do not count, nor does a number at the end.

/// Longer names are looked at by their ends.
const MAX_NAME_BYTES: usize = 64;

/// Parameters of URLs.
const IN_URLS: &[&str] = &[
    "accesskeyid",
    "applicationkey",
    "apppassword",
    "auth",
    "authcode",
    "authkey",
    "authorization",
    "authorizationcode",
    "awsaccesskeyid",
    "bearer",
    "code",
    "codeverifier",
    "confirmationcode",
    "csrf",
    "devicecode",
    "hapikey",
    "hdnea",
    "hdnts",
    "hmac",
    "idtokenhint",
    "invitecode",
    "key",
    "magiclink",
    "mfa",
    "mfacode",
    "oauthverifier",
    "otp",
    "otpcode",
    "pass",
    "passcode",
    "pin",
    "resetcode",
    "samlart",
    "samlrequest",
    "samlresponse",
    "sas",
    "session",
    "sessionkey",
    "sid",
    "sig",
    "signedrequest",
    "subscriptionkey",
    "ticket",
    "totp",
    "usercode",
    "verificationcode",
    "xamzcredential",
    "xgoogcredential",
    "xsrf",
];

/// Headers.
const HEADERS: &[&str] = &[
    "authenticationinfo",
    "cookie",
    "ddapikey",
    "ddapplicationkey",
    "dpop",
    "otp",
    "proxyauthorization",
    "sessionid",
    "setcookie",
    "signozingestionkey",
    "uptracedsn",
    "xamznoidcdata",
    "xamznoidcidentity",
    "xappwritekey",
    "xauth",
    "xauthkey",
    "xfunctionskey",
    "xhmac",
    "xhoneycombteam",
    "xingestkey",
    "xinsertkey",
    "xjwt",
    "xmashapekey",
    "xmsclientprincipal",
    "xotp",
    "xpin",
    "xquerykey",
    "xsentryauth",
    "xsessionid",
    "xtwilioauth",
    "xwebhookkey",
];

/// Headers that hold a URL, which may be a relative one.
const HEADERS_WITH_URL: &[&str] = &[
    "contentlocation",
    "link",
    "location",
    "path",
    "referer",
    "referrer",
    "refresh",
    "sourcemap",
    "xforwardeduri",
    "xoriginaluri",
    "xoriginalurl",
    "xrewriteurl",
];

/// Whole names that are a secret's wherever they stand.
const ANYWHERE: &[&str] = &["pwd", "pw", "jwt", "authkey", "cookie", "credentials", "userpwd"];

/// Ends of such names.
const ENDS_ANYWHERE: &[&str] = &[
    "accesskey",
    "accountkey",
    "apikey",
    "apppassword",
    "assertion",
    "authorization",
    "credential",
    "encryptioncustomerkey",
    "encryptionkey",
    "licensekey",
    "masterkey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "saskey",
    "secret",
    "secretkey",
    "securitytoken",
    "sharedaccesskey",
    "signature",
    "signingkey",
    "subscriptionkey",
];

/// Names that end like a secret's, and are none.
const HARMLESS: &[&str] = &["usingpassword", "nopassword", "haspassword", "trusttoken"];

/// What a name comes down to: its letters and digits, in lower case.
struct Plain {
    bytes: [u8; MAX_NAME_BYTES],
    len: usize,
}

impl Plain {
    fn of(name: &[u8]) -> Self {
        let mut plain = Self { bytes: [0; MAX_NAME_BYTES], len: 0 };
        let is_counted = |byte: &&u8| byte.is_ascii_alphanumeric();
        let counted = name.iter().filter(is_counted).count();
        for byte in name.iter().filter(is_counted).skip(counted.saturating_sub(MAX_NAME_BYTES)) {
            plain.bytes[plain.len] = byte.to_ascii_lowercase();
            plain.len += 1;
        }
        while plain.len > 1 && plain.bytes[plain.len - 1].is_ascii_digit() {
            plain.len -= 1;
        }
        plain
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| name.as_bytes() == self.as_bytes())
    }

    fn ends_with(&self, end: &str) -> bool {
        // The last byte tells most apart.
        self.as_bytes().last() == end.as_bytes().last() && self.as_bytes().ends_with(end.as_bytes())
    }

    fn is_secret_anywhere(&self) -> bool {
        // Most names end in none of these letters.
        match self.as_bytes().last() {
            Some(b'd' | b'e' | b'l' | b'n' | b's' | b't' | b'w' | b'y') => {}
            _ => return false,
        }
        (self.is_one_of(ANYWHERE) || ENDS_ANYWHERE.iter().any(|end| self.ends_with(end)))
            && !self.is_one_of(HARMLESS)
    }

    /// A bare `token` may be one of a grammar, or count what a model has read.
    fn is_token(&self) -> bool {
        self.ends_with("token") && !self.is_one_of(HARMLESS)
    }
}

/// Whether a word before `=` or `:` in any text names a secret.
pub(super) fn is_secret_in_text(name: &[u8]) -> bool {
    let plain = Plain::of(name);
    plain.is_secret_anywhere() || plain.is_token() && plain.len > "token".len()
}

/// Whether a word before a colon of a message names a secret: a header, or what is one in any text.
pub(super) fn is_secret_in_message(name: &[u8]) -> bool {
    is_secret_in_text(name) || Plain::of(name).is_one_of(HEADERS)
}

/// Whether a name in quotes before a colon does.
pub(super) fn is_secret_in_entry(name: &[u8]) -> bool {
    let plain = Plain::of(name);
    is_secret_in_message(name) || plain.as_bytes() == b"token"
}

pub(super) fn is_authorization(name: &[u8]) -> bool {
    Plain::of(name).ends_with("authorization")
}

/// Whether all of a line is the value of a header.
pub(super) fn is_whole_line(name: &[u8]) -> bool {
    is_authorization(name) || Plain::of(name).ends_with("cookie")
}

/// Whether a setting of a connection is a secret.
pub(super) fn is_secret_of_connection(name: &[u8]) -> bool {
    let plain = Plain::of(name);
    plain.is_secret_anywhere() || plain.is_token() || plain.is_one_of(&["auth", "sig", "pass"])
}

/// Whether a parameter of a URL is a secret: `token`, and `token[]`, `user[token]`, `token[0]` as well.
pub(super) fn is_secret_in_url(name: &[u8]) -> bool {
    let is_secret = |name: &[u8]| {
        let plain = Plain::of(name);
        plain.is_secret_anywhere()
            || plain.is_token()
            || plain.is_one_of(IN_URLS)
            || plain.ends_with("sessionid")
            || plain.ends_with("sessid")
    };
    if name.iter().any(|byte| matches!(byte, b'[' | b'.')) {
        return name.split(|byte| matches!(byte, b'[' | b']' | b'.')).any(is_secret) || is_secret(name);
    }
    is_secret(name)
}

/// What a value is by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Secret,
    Url,
    ConnectionString,
    Other,
}

pub(super) fn header(name: &str) -> Held {
    let plain = Plain::of(name.as_bytes());
    if plain.is_secret_anywhere() || plain.is_token() || plain.is_one_of(HEADERS) {
        Held::Secret
    } else if plain.is_one_of(HEADERS_WITH_URL) {
        Held::Url
    } else {
        Held::Other
    }
}

/// What the last part of an attribute's name says of its value.
pub(super) fn attribute(name: &str) -> Held {
    // Most names end in none of these.
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit()).as_bytes();
    let [.., before, last] = letters else { return Held::Other };
    match [before.to_ascii_lowercase(), last.to_ascii_lowercase()] {
        // Password, passwd, secret, token, key, authorization or location, cookie, credential(s), passphrase, signature,
        // JWT, URL, URI, referrer, DSN, connection string.
        [b'r' | b'w', b'd']
        | [b'p', b'w']
        | [b'e', b't' | b'n' | b'y' | b'r']
        | [b'o', b'n']
        | [b'i', b'e']
        | [b'a', b'l']
        | [b'l', b's']
        | [b's', b'e' | b'n']
        | [b'r', b'e' | b'l' | b'i']
        | [b'w', b't']
        | [b'n', b'g'] => {}
        _ => return Held::Other,
    }
    let plain = Plain::of(name.rsplit(['.', '/']).next().unwrap_or(name).as_bytes());
    let ends = |ends: &[&str]| ends.iter().any(|end| plain.ends_with(end));
    if plain.is_secret_anywhere() || plain.is_token() {
        Held::Secret
    } else if ends(&["connectionstring", "dsn", "databaseurl", "jdbcurl", "connectionurl", "connectionuri"]) {
        Held::ConnectionString
    } else if ends(&["url", "uri", "referer", "referrer", "location"]) {
        Held::Url
    } else {
        Held::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_14_3_spelling_and_brackets_do_not_hide_a_name() {
        for name in [
            "token",
            "TOKEN",
            "token[]",
            "token[0]",
            "user[password]",
            "auth.token",
            "accessToken",
            "access-token",
            "client_assertion",
            "code",
            "sig",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Goog-Signature",
            "SAMLResponse",
        ] {
            assert!(is_secret_in_url(name.as_bytes()), "{name}");
        }
        for name in
            ["page", "codec", "keyword", "design", "monkey", "tokens", "sort_key", "signal", "state", ""]
        {
            assert!(!is_secret_in_url(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn names_in_any_text_are_only_those_that_are_never_harmless() {
        for name in [
            "password",
            "dbPassword",
            "AccountKey",
            "SharedAccessKey",
            "client-secret",
            "access_token",
            "Pwd",
        ] {
            assert!(is_secret_in_text(name.as_bytes()), "{name}");
        }
        for name in ["token", "code", "key", "auth", "using password", "path", "partition_key"] {
            assert!(!is_secret_in_text(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn attributes_by_the_last_part_of_their_names() {
        for (name, held) in [
            ("db.password", Held::Secret),
            ("session.token", Held::Secret),
            ("user.apiKey", Held::Secret),
            ("aws.queue_url", Held::Url),
            ("db.connection_string", Held::ConnectionString),
            ("SENTRY_DSN", Held::ConnectionString),
            ("aws.s3.key", Held::Other),
            ("aws.secretsmanager.secret.arn", Held::Other),
            ("gen_ai.usage.input_tokens", Held::Other),
            ("feature_flag.key", Held::Other),
            ("error.code", Held::Other),
            ("", Held::Other),
        ] {
            assert_eq!(attribute(name), held, "{name}");
        }
    }

    #[test]
    fn no_name_of_a_secret_is_passed_over() {
        let ends = ENDS_ANYWHERE.iter().chain(ANYWHERE).chain(&["token"]);
        for name in ends.flat_map(|end| [format!("app.{end}"), format!("app.{}", end.to_uppercase())]) {
            assert_eq!(attribute(&name), Held::Secret, "{name}");
            assert_eq!(header(name.trim_start_matches("app.")), Held::Secret, "{name}");
        }
    }

    #[test]
    fn a_long_name_is_known_by_its_end() {
        assert!(is_secret_in_url(format!("{}_password", "x".repeat(500)).as_bytes()));
    }
}
