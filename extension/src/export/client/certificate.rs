//! What a certificate says of itself, as far as it matters where it is its own authority: read from its DER.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::ops::RangeInclusive;

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.37
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 1.3.6.1.5.5.7.3.1
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Issuer and subject are the same.
    pub(crate) is_self_issued: bool,
    /// In seconds since 1970.
    pub(crate) valid: RangeInclusive<i64>,
    /// No extended key usage leaves servers out.
    pub(crate) is_for_servers: bool,
}

impl Certificate {
    /// `None` where it is not what X.509 says it should be.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).expect(SEQUENCE)?);
        let mut fields = Der(certificate.expect(SEQUENCE)?);
        if fields.next_is(VERSION) {
            fields.next()?;
        }
        // The serial number, and the algorithm of the signature.
        fields.next()?;
        fields.expect(SEQUENCE)?;
        let issuer = fields.expect(SEQUENCE)?;
        let mut validity = Der(fields.expect(SEQUENCE)?);
        let valid = validity.time()?..=validity.time()?;
        let subject = fields.expect(SEQUENCE)?;
        let mut is_for_servers = true;
        while let Some((tag, value)) = fields.next() {
            if tag == EXTENSIONS {
                is_for_servers = are_for_servers(value)?;
            }
        }
        Some(Self { is_self_issued: issuer == subject, valid, is_for_servers })
    }
}

fn are_for_servers(extensions: &[u8]) -> Option<bool> {
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    while !extensions.0.is_empty() {
        let mut extension = Der(extensions.expect(SEQUENCE)?);
        let name = extension.expect(OID)?;
        if extension.next_is(BOOLEAN) {
            extension.next()?;
        }
        let value = extension.expect(OCTETS)?;
        if name == EXTENDED_KEY_USAGE {
            let mut usages = Der(Der(value).expect(SEQUENCE)?);
            while !usages.0.is_empty() {
                if usages.expect(OID)? == SERVER_AUTH {
                    return Some(true);
                }
            }
            return Some(false);
        }
    }
    Some(true)
}

/// What is still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(first) {
            short @ 0..=0x7f => (short, rest),
            long @ 0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(long - 0x80)?;
                (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    fn time(&mut self) -> Option<i64> {
        let (tag, value) = self.next()?;
        let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii())?.strip_suffix('Z')?;
        let digits = match tag {
            // RFC 5280: a year below 50 is one of this century.
            UTC_TIME => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
            GENERALIZED_TIME => text.to_owned(),
            _ => return None,
        };
        if digits.len() != 14 {
            return None;
        }
        let (date, time) = digits.split_at(8);
        let text = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &date[..4],
            &date[4..6],
            &date[6..],
            &time[..2],
            &time[2..4],
            &time[4..]
        );
        DateTime::from_str(&text, Format::DateTime).ok().map(|time| time.secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

    fn der(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["collector.example".to_owned()]).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn validity_is_read_in_both_forms_of_time() {
        let read = Certificate::read(&der(|params| {
            params.not_before = date_time_ymd(2001, 9, 9);
            params.not_after = date_time_ymd(2065, 1, 24);
        }))
        .unwrap();
        assert_eq!(read.valid, 1_000_000_000 - 6_400..=3_000_000_000 - 19_200);
        assert!(read.is_self_issued && read.is_for_servers);
    }

    #[test]
    fn key_usages_count_where_there_are_any() {
        for (usages, expected) in [
            (vec![], true),
            (vec![ExtendedKeyUsagePurpose::ServerAuth], true),
            (vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth], true),
            (vec![ExtendedKeyUsagePurpose::ClientAuth], false),
        ] {
            let read = Certificate::read(&der(|params| params.extended_key_usages = usages.clone())).unwrap();
            assert_eq!(read.is_for_servers, expected, "{usages:?}");
        }
    }

    #[test]
    fn p1_whatever_is_cut_or_changed_is_no_panic() {
        let whole = der(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        for end in 0..whole.len() {
            let _ = Certificate::read(&whole[..end]);
            for changed in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut other = whole.clone();
                other[end] = changed;
                let _ = Certificate::read(&other);
            }
        }
        assert_eq!(Certificate::read(&[]), None);
    }
}
