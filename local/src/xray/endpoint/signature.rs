//! Whether a request is signed for X-Ray, in form. The signature itself cannot be checked: the secret is not known here.

use hyper::HeaderMap;

/// What is wrong with a request's signature: error type and message (PTS-1).
pub(super) fn check(headers: &HeaderMap) -> Result<(), (&'static str, String)> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = header("authorization");
    if authorization.is_empty() {
        let message = "Missing Authentication Token: the Authorization header is missing (PTS-1)".to_owned();
        return Err(("MissingAuthenticationTokenException", message));
    }
    let Some(parameters) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return Err(incomplete("Authorization does not begin with AWS4-HMAC-SHA256"));
    };
    let parameter = |name: &str| {
        parameters.split(',').find_map(|parameter| parameter.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let credential: Vec<&str> = parameter("Credential").unwrap_or_default().split('/').collect();
    let [key, date, region, service, terminator] = credential[..] else {
        return Err(incomplete("Credential is not KEY/DATE/REGION/xray/aws4_request"));
    };
    if key.is_empty() || region.is_empty() || service != "xray" || terminator != "aws4_request" {
        return Err(incomplete("Credential is not KEY/DATE/REGION/xray/aws4_request"));
    }
    if parameter("Signature").unwrap_or_default().is_empty() {
        return Err(incomplete("Signature is missing"));
    }
    let amz_date = header("x-amz-date");
    if amz_date.len() != 16 || !amz_date.starts_with(date) || !amz_date.ends_with('Z') {
        return Err(incomplete("x-amz-date is not YYYYMMDDTHHMMSSZ of the Credential's day"));
    }
    Ok(())
}

fn incomplete(message: &str) -> (&'static str, String) {
    ("IncompleteSignatureException", format!("{message} (PTS-1)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pts_1_signatures_by_form() {
        let good = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20261121/eu-west-1/xray/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature={}",
            "a".repeat(64)
        );
        let checked = |authorization: &str, date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", authorization.parse().unwrap());
            headers.insert("x-amz-date", date.parse().unwrap());
            check(&headers).map_err(|(kind, message)| format!("{kind}: {message}"))
        };
        let date = "20261121T060000Z";
        assert_eq!(checked(&good, date), Ok(()));
        for (authorization, date, part) in [
            (String::new(), date, "MissingAuthenticationTokenException"),
            ("Bearer x".to_owned(), date, "AWS4-HMAC-SHA256"),
            (good.replace("/xray/", "/logs/"), date, "Credential"),
            (good.replace("/eu-west-1/", "//"), date, "Credential"),
            (good.replace("AKID/", ""), date, "Credential"),
            (good.replace("Signature=", "S="), date, "Signature"),
            (good.clone(), "20261122T060000Z", "x-amz-date"),
            (good, "", "x-amz-date"),
        ] {
            let problem = checked(&authorization, date).unwrap_err();
            assert!(problem.contains(part), "{authorization} {date}: {problem}");
        }
    }
}
