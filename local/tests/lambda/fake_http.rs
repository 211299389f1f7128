//! The least HTTP client that the fake processes of the tests need.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// One of the local APIs, a new connection for each call.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) address: String,
    /// Of a registered extension; empty for a runtime.
    pub(crate) identifier: String,
}

impl Api {
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Outcome<Response> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address).into_bytes();
        write!(request, "Connection: close\r\nContent-Length: {}\r\n", body.len())?;
        if !self.identifier.is_empty() {
            write!(request, "Lambda-Extension-Identifier: {}\r\n", self.identifier)?;
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        write!(request, "\r\n{body}")?;
        let mut stream = TcpStream::connect(&self.address)?;
        stream.write_all(&request)?;
        read_message(&mut BufReader::new(stream)).map(|(first, headers, body)| Response {
            status: first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default(),
            headers,
            body,
        })
    }
}

/// First line, headers with lower-case names, and a body of `content-length`.
pub(crate) fn read_message(reader: &mut impl BufRead) -> Outcome<(String, BTreeMap<String, String>, String)> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first.trim_end().to_owned(), headers, String::from_utf8(body)?))
}
