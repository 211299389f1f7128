//! The `http` block as it is written: xray.md section 3.4.

use crate::document::json::{Fields, Json, name};
use std::borrow::Cow;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Http<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) response: Response,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) method: Option<Cow<'a, str>>,
    pub(crate) url: Option<Cow<'a, str>>,
    pub(crate) user_agent: Option<Cow<'a, str>>,
    pub(crate) client_ip: Option<Cow<'a, str>>,
    pub(crate) x_forwarded_for: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: Option<i64>,
    pub(crate) content_length: Option<i64>,
}

impl Json for Http<'_> {
    fn write(&self, out: &mut String) {
        let mut fields = Fields::begin(out);
        fields.put_some(
            name!("request"),
            Some(&self.request).filter(|request| **request != Request::default()),
        );
        fields.put_some(
            name!("response"),
            Some(&self.response).filter(|response| **response != Response::default()),
        );
        fields.end();
    }
}

impl Json for Request<'_> {
    fn write(&self, out: &mut String) {
        let mut fields = Fields::begin(out);
        fields.put_some(name!("method"), self.method.as_ref());
        fields.put_some(name!("url"), self.url.as_ref());
        fields.put_some(name!("user_agent"), self.user_agent.as_ref());
        fields.put_some(name!("client_ip"), self.client_ip.as_ref());
        fields.put_true(name!("x_forwarded_for"), self.x_forwarded_for);
        fields.end();
    }
}

impl Json for Response {
    fn write(&self, out: &mut String) {
        let mut fields = Fields::begin(out);
        fields.put_some(name!("status"), self.status.as_ref());
        fields.put_some(name!("content_length"), self.content_length.as_ref());
        fields.end();
    }
}
