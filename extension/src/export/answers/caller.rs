//! The codes by which AWS says that it is the caller it will not serve, or not now, and what to do about it. Pure.

const EXPIRED: &[&str] = &["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"];
const UNKNOWN: &[&str] = &[
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "InvalidToken",
    "InvalidTokenException",
    "InvalidIdentityToken",
    "InvalidSecurity",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
];
const UNSIGNED: &[&str] = &[
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "AuthFailure",
    "RequestTimeTooSkewed",
    "RequestExpired",
];
/// The same request may do another time, whatever status comes with it.
const NOT_NOW: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "SlowDown",
    "RequestTimeout",
    "RequestTimeoutException",
    "InternalFailure",
    "InternalServerError",
    "ServiceUnavailable",
    "ServiceUnavailableException",
];
const NOT_IN_THIS_REGION: &[&str] = &["OptInRequired", "SubscriptionRequiredException"];

/// Whether other credentials may do.
pub(crate) fn may_renew(code: &str) -> bool {
    EXPIRED.contains(&code) || UNKNOWN.contains(&code)
}

/// Whether the same request may do another time.
pub(crate) fn is_not_now(code: &str) -> bool {
    NOT_NOW.contains(&code)
}

/// Whether the request's signature was refused.
pub(crate) fn is_unsigned(code: &str) -> bool {
    UNSIGNED.contains(&code)
}

/// Whether the account has no X-Ray in this region.
pub(crate) fn is_not_in_this_region(code: &str) -> bool {
    NOT_IN_THIS_REGION.contains(&code)
}

/// What is wrong with a caller, and what to do, where it is not a permission that is missing.
pub(crate) fn caller_trouble(code: &str) -> Option<String> {
    let is = |codes: &[&str]| codes.contains(&code);
    let trouble = if is(EXPIRED) {
        format!(
            "the function's credentials have expired ({code}), so spans are kept and tried again: Lambda gives an \
             environment new ones in time; renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN where \
             you have set them"
        )
    } else if is(UNKNOWN) {
        format!(
            "X-Ray does not know the function's credentials ({code}), so spans are kept and tried again: correct \
             AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN where you have set them, and look whether \
             AWS_REGION is a region of that account"
        )
    } else if is(UNSIGNED) {
        format!(
            "X-Ray refused the signature ({code}), so spans are kept and tried again: correct AWS_SECRET_ACCESS_KEY \
             where you have set it, and let no proxy change the request"
        )
    } else if is(NOT_IN_THIS_REGION) {
        format!(
            "the account has no X-Ray in this region ({code}), so spans are kept and tried again: turn the region on, \
             or set AWS_REGION to another"
        )
    } else {
        return None;
    };
    Some(trouble)
}
