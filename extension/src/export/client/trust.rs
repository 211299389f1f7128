//! Whom to trust: the roots compiled in, or those of a bundle that the environment names.

use super::certificate::Certificate;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;

/// Why the TLS settings of the environment could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(
        "the CA bundle {path} could not be read ({cause}): correct AWS_CA_BUNDLE, SSL_CERT_FILE or OTEL_EXPORTER_OTLP_CERTIFICATE, or unset it"
    )]
    Bundle { path: String, cause: rustls_pki_types::pem::Error },
    #[error(
        "the CA bundle {path} holds no certificate: correct AWS_CA_BUNDLE, SSL_CERT_FILE or OTEL_EXPORTER_OTLP_CERTIFICATE, or unset it"
    )]
    Empty { path: String },
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// `ca_bundle` replaces the built-in roots.
pub(crate) fn client_config(ca_bundle: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    Ok(match ca_bundle {
        None => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            config.with_root_certificates(roots).with_no_client_auth()
        }
        Some(path) => {
            let verifier = Arc::new(Verifier::new(path, provider)?);
            config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
    })
}

/// As webpki has it, and one case more: a server's certificate that is itself in the bundle. Where such a certificate
/// says that it is an authority, webpki lets it be no server's; Python and OpenSSL do.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    bundle: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(path: &Path, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let shown = path.display().to_string();
        let unreadable = |cause| TlsError::Bundle { path: shown.clone(), cause };
        let bundle: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
            .map_err(unreadable)?
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(bundle.iter().cloned());
        if added == 0 {
            return Err(TlsError::Empty { path: shown });
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { chains, bundle })
    }

    /// Whether the certificate vouches for itself: the very one of the bundle, for servers, for this name, today. That
    /// the server has its key is seen by the signature of the handshake.
    fn is_its_own_authority(
        &self,
        end_entity: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.bundle.contains(end_entity)
            && Certificate::read(end_entity).is_some_and(|certificate| {
                certificate.is_self_issued && certificate.is_for_servers && certificate.valid.contains(&now)
            })
            && ParsedCertificate::try_from(end_entity)
                .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chains.verify_server_cert(end_entity, intermediates, name, ocsp_response, now) {
            // What webpki says of an authority in a server's place; every other trouble has a word of its own.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.is_its_own_authority(end_entity, name, now) =>
            {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        date_time_ymd,
    };
    use std::io::Write as _;
    use std::time::Duration;

    const NAME: &str = "collector.example";

    fn params(is_authority: bool) -> CertificateParams {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
        params
    }

    fn self_signed(params: &CertificateParams) -> CertificateDer<'static> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    fn pem(der: &CertificateDer<'_>) -> String {
        let body = aws_smithy_types::base64::encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    /// What a bundle of these certificates makes of one that a server shows in a year.
    fn verify(
        bundle: &[&CertificateDer<'_>],
        shown: &CertificateDer<'_>,
        name: &str,
        year: u64,
    ) -> Result<(), String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for certificate in bundle {
            file.write_all(pem(certificate).as_bytes()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(file.path(), provider).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_hours((year - 1970) * 8766 + 24));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier
            .verify_server_cert(shown, &[], &name, &[], now)
            .map(drop)
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn b_7_a_certificate_that_is_its_own_authority_is_believed_of_itself_and_of_nothing_else() {
        for is_authority in [true, false] {
            let own = self_signed(&params(is_authority));
            assert_eq!(verify(&[&own], &own, NAME, 2025), Ok(()), "{is_authority}");
            for (name, year) in [("other.example", 2025), (NAME, 2031), (NAME, 2019)] {
                let refused = verify(&[&own], &own, name, year);
                assert!(refused.is_err(), "{is_authority}: {name} in {year}");
            }
            let other = self_signed(&params(is_authority));
            let refused = verify(&[&own], &other, NAME, 2025);
            assert!(refused.is_err(), "{is_authority}: another key under the same name");
            assert_eq!(verify(&[&other, &own], &own, NAME, 2025), Ok(()), "one of several");
        }
    }

    #[test]
    fn b_7_an_authority_that_may_be_no_server_or_has_an_authority_above_it_is_still_refused() {
        let mut for_clients = params(true);
        for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let for_clients = self_signed(&for_clients);
        assert!(verify(&[&for_clients], &for_clients, NAME, 2025).is_err());

        let mut above = params(true);
        above.distinguished_name.push(rcgen::DnType::CommonName, "above");
        let above = CertifiedIssuer::self_signed(above, KeyPair::generate().unwrap()).unwrap();
        let below: CertificateDer<'static> =
            params(true).signed_by(&KeyPair::generate().unwrap(), &above).unwrap().into();
        let above = above.der().clone();
        assert!(verify(&[&above], &below, NAME, 2025).is_err(), "an authority is no server");
        assert!(
            verify(&[&above, &below], &below, NAME, 2025).is_err(),
            "nor is one that another vouches for"
        );
    }

    #[test]
    fn chains_are_followed_as_ever() {
        let mut above = params(true);
        above.distinguished_name.push(rcgen::DnType::CommonName, "above");
        let above = CertifiedIssuer::self_signed(above, KeyPair::generate().unwrap()).unwrap();
        let server: CertificateDer<'static> =
            params(false).signed_by(&KeyPair::generate().unwrap(), &above).unwrap().into();
        let above = above.der().clone();
        assert_eq!(verify(&[&above], &server, NAME, 2025), Ok(()));
        assert!(verify(&[&above], &server, "other.example", 2025).is_err());
        assert!(verify(&[&self_signed(&params(true))], &server, NAME, 2025).is_err());
    }
}
