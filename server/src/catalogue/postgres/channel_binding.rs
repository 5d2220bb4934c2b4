//! Channel binding: with the password the client proves which certificate it sees, so that nobody
//! in between can pass the password on (`tls-server-end-point`, RFC 5929). It proves a hash of the
//! certificate, made with the hash function of its signature.
//!
//! Where the signature has none, or one that `tokio-postgres-rustls` does not know (Ed25519,
//! RSA-PSS), the driver leaves the binding out and says nothing. Here it is said: where the URL
//! requires the binding, by an error before a password is sent; else by one line of the log. Which
//! certificates are trusted is left to `rustls`.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::DB;
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, SHA_1_WITH_RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION,
    SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};

/// The signatures of which `tokio-postgres-rustls` 0.14 knows the hash; look at its
/// `channel_binding_digest` when it is replaced.
const HASHED: [ObjectIdentifier; 6] = [
    ECDSA_WITH_SHA_256,
    ECDSA_WITH_SHA_384,
    SHA_1_WITH_RSA_ENCRYPTION,
    SHA_256_WITH_RSA_ENCRYPTION,
    SHA_384_WITH_RSA_ENCRYPTION,
    SHA_512_WITH_RSA_ENCRYPTION,
];

/// What a URL says of channel binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Binding {
    /// It is not used.
    Disable,
    /// It is used where both sides can.
    #[default]
    Prefer,
    /// Without it nobody is connected.
    Require,
}

/// A certificate to which no password can be bound.
#[derive(Debug, thiserror::Error)]
#[error("its certificate is signed with {algorithm}, which gives channel binding no hash")]
pub(super) struct Unbound {
    algorithm: String,
}

/// Trusts whom `rustls` trusts, and says where a password cannot be bound.
#[derive(Debug)]
pub(super) struct BindingVerifier {
    trusts: Arc<WebPkiServerVerifier>,
    binding: Binding,
    /// Whether the log says that it is not used.
    is_logged: AtomicBool,
}

impl BindingVerifier {
    /// Trusts these authorities.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn new(
        authorities: RootCertStore,
        provider: Arc<CryptoProvider>,
        binding: Binding,
    ) -> Result<BindingVerifier, VerifierBuilderError> {
        let trusts = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider);
        Ok(BindingVerifier { trusts: trusts.build()?, binding, is_logged: AtomicBool::new(false) })
    }
}

impl ServerCertVerifier for BindingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.trusts.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        match (self.binding, unbound(end_entity)) {
            (Binding::Require, Some(why)) => {
                let why = CertificateError::Other(OtherError(Arc::new(why)));
                return Err(Error::InvalidCertificate(why));
            }
            (Binding::Prefer, Some(why)) if !self.is_logged.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    "channel binding is not used with PostgreSQL at {}: {why} \
                     (channel_binding=disable in catalogue.postgres_url says that it need not be)",
                    server_name.to_str()
                );
            }
            _ => {}
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusts.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trusts.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trusts.supported_verify_schemes()
    }
}

/// Why the driver binds no password to a certificate; `None`: it does.
fn unbound(certificate: &CertificateDer<'_>) -> Option<Unbound> {
    let algorithm = match Certificate::from_der(certificate) {
        Ok(certificate) => certificate.signature_algorithm.oid,
        Err(_) => return Some(Unbound { algorithm: "what cannot be read".into() }),
    };
    if HASHED.contains(&algorithm) {
        return None;
    }
    let name = DB.by_oid(&algorithm).map_or_else(|| algorithm.to_string(), str::to_owned);
    Some(Unbound { algorithm: name })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use std::time::Duration;

    /// Certificates of the key of an authority, and of `localhost` signed with it, until 2126.
    const ECDSA: [&str; 2] = [
        "-----BEGIN CERTIFICATE-----\n\
         MIIBdjCCAR2gAwIBAgIUd3icopBYya3hThvjJWMD2U7LSr4wCgYIKoZIzj0EAwIw\n\
         EDEOMAwGA1UEAwwFdGVzdHMwIBcNMjYxMTMwMDE1NDQyWhgPMjEyNjExMDYwMTU0\n\
         NDJaMBAxDjAMBgNVBAMMBXRlc3RzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n\
         JBlJMZUMrjD4FQnqm+V6YGOzFFveB2VjTOSHeEh0AIZMwOHt/dhXIne+65Nc827b\n\
         uwNqmrFWYSTMmCgQaN1GC6NTMFEwHQYDVR0OBBYEFE1nJkbSyeu/2fcSblSJ5hJt\n\
         GY7RMB8GA1UdIwQYMBaAFE1nJkbSyeu/2fcSblSJ5hJtGY7RMA8GA1UdEwEB/wQF\n\
         MAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgWxIwP8BkebXEQfT0AyiOzMgOvjfBATjf\n\
         iusFvOKJ++8CIDvQH0m84YljLge+/lQ30W1LFYKB0uQajfzmfbGx3Vc0\n\
         -----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n\
         MIIBizCCATGgAwIBAgIUPuDvD0tdQYRlk4Rva10U/YKOw4kwCgYIKoZIzj0EAwIw\n\
         EDEOMAwGA1UEAwwFdGVzdHMwIBcNMjYxMTMwMDE1NDQyWhgPMjEyNjExMDYwMTU0\n\
         NDJaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEH\n\
         A0IABKA9dcAalDT4A8ev5REAo1uB6CWsbPR1H1HdBviynliL0703kTIr2v6eblYm\n\
         vh5OD1ojHqRDWphqK8VkvN4b/kejYzBhMBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAJ\n\
         BgNVHRMEAjAAMB0GA1UdDgQWBBQI5wvP1U9hxt+8wRm7imOzsJwmvTAfBgNVHSME\n\
         GDAWgBRNZyZG0snrv9n3Em5UieYSbRmO0TAKBggqhkjOPQQDAgNIADBFAiBKKiYT\n\
         uLGHUQ23ORQUyNdLTQlk5HF9TvpHGBDAvKbJFAIhALPekhFTZ308H3yCTbJ42ZzF\n\
         D/TpKlwwIBzwJLpM590J\n\
         -----END CERTIFICATE-----",
    ];

    const ED25519: [&str; 2] = [
        "-----BEGIN CERTIFICATE-----\n\
         MIIBNjCB6aADAgECAhQR1pURU9+d0IWigkL9fE7giCIKfjAFBgMrZXAwEDEOMAwG\n\
         A1UEAwwFdGVzdHMwIBcNMjYxMTMwMDE1NDQyWhgPMjEyNjExMDYwMTU0NDJaMBAx\n\
         DjAMBgNVBAMMBXRlc3RzMCowBQYDK2VwAyEAUXqi9mbJlb4PjWrJxNjsdtbp9cbA\n\
         I5jtNf7gyTCtLPajUzBRMB0GA1UdDgQWBBTDPCqolOT05qz0anQ/cCwyQd07EjAf\n\
         BgNVHSMEGDAWgBTDPCqolOT05qz0anQ/cCwyQd07EjAPBgNVHRMBAf8EBTADAQH/\n\
         MAUGAytlcANBACCuhXJesymP4MkEsd1W9WW98xyuSN3B2TxCjd6mJoTIl+pQZvbf\n\
         pKtjnzM1jyZz5gxVLr0QaUzNYoMW1HtsgQM=\n\
         -----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n\
         MIIBejCCASygAwIBAgIUSUl32mNMCxWcna8Ag/s//XHUP84wBQYDK2VwMBAxDjAM\n\
         BgNVBAMMBXRlc3RzMCAXDTI2MTEzMDAxNTQ0MloYDzIxMjYxMTA2MDE1NDQyWjAU\n\
         MRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATk\n\
         pOOrUHN9ZRL+2ujD/Ax2VuNVq+l/Rhecs+KA2O/SQr1L4542LF4QLXdFLcEAIiNU\n\
         BPZNJzIOiEQIELHrkjcno2MwYTAUBgNVHREEDTALgglsb2NhbGhvc3QwCQYDVR0T\n\
         BAIwADAdBgNVHQ4EFgQU2oEyjJHQLso2J0BJdNNXYf7L0pYwHwYDVR0jBBgwFoAU\n\
         wzwqqJTk9Oas9Gp0P3AsMkHdOxIwBQYDK2VwA0EAb3zYvxiz/L9zWsI71a7rLwO+\n\
         GmfHuJFswWF7bWJphXyj1itRqAnJJXSZfBvxnY4jJZssCqn5bURvucLS3lraCA==\n\
         -----END CERTIFICATE-----",
    ];

    fn verifier(authority: &str, binding: Binding) -> BindingVerifier {
        let mut authorities = RootCertStore::empty();
        authorities.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        BindingVerifier::new(authorities, provider, binding).unwrap()
    }

    /// What it says of a certificate in the year 2033.
    fn verify(verifier: &BindingVerifier, certificate: &str) -> Result<(), Error> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(2_000_000_000));
        verifier.verify_server_cert(&certificate, &[], &name, &[], now).map(drop)
    }

    #[test]
    fn a_binding_that_cannot_be_is_an_error_where_it_is_required_and_else_said_once() {
        for binding in [Binding::Disable, Binding::Prefer, Binding::Require] {
            let [authority, certificate] = ECDSA;
            let verifier = verifier(authority, binding);
            assert!(verify(&verifier, certificate).is_ok(), "{binding:?}");
            assert!(!verifier.is_logged.load(Ordering::Relaxed), "{binding:?}");
        }
        let [authority, certificate] = ED25519;
        for (binding, logs) in [(Binding::Disable, false), (Binding::Prefer, true)] {
            let verifier = verifier(authority, binding);
            for _ in 0..2 {
                assert!(verify(&verifier, certificate).is_ok(), "{binding:?}");
                assert_eq!(verifier.is_logged.load(Ordering::Relaxed), logs, "{binding:?}");
            }
        }
        let refused = verify(&verifier(authority, Binding::Require), certificate);
        let Err(Error::InvalidCertificate(CertificateError::Other(why))) = refused else {
            panic!("{refused:?}")
        };
        let why = why.0.downcast_ref::<Unbound>().unwrap().to_string();
        assert!(why.contains("signed with id-Ed25519"), "{why}");
    }

    #[test]
    fn whom_nobody_trusts_is_refused_for_that() {
        let told = verify(&verifier(ECDSA[0], Binding::Require), ED25519[1]);
        let is_unbound = match &told {
            Err(Error::InvalidCertificate(CertificateError::Other(why))) => why.0.is::<Unbound>(),
            _ => false,
        };
        assert!(told.is_err() && !is_unbound, "{told:?}");
    }

    #[test]
    fn a_certificate_that_cannot_be_read_has_no_hash() {
        let why = unbound(&CertificateDer::from(b"no certificate".as_slice())).unwrap();
        assert!(why.to_string().contains("signed with what cannot be read"), "{why}");
    }
}
