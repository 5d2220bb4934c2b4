//! TLS to PostgreSQL: what the URL asks for, whom it trusts, and the connection wrapped.
//!
//! `sslmode=require`, `verify-ca` and `verify-full` are one: the server's certificate must lead to a trusted authority and name
//! the host, as with `verify-full` of other clients; less would keep out nobody who can stand between. Trusted are the
//! authorities of the file that `sslrootcert` names, else those of the system (`SSL_CERT_FILE` names others).
//! Without `sslmode`, and with `disable` or `prefer`, nothing is encrypted. Certificates of clients and channel binding
//! are not offered.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Error;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

/// What a URL says of encryption.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Whether it must be encrypted.
    pub(super) required: bool,
    /// A file of authorities.
    pub(super) authorities: Option<String>,
}

/// Parts a URL into what the driver understands, and what it asks for here.
///
/// # Errors
/// What is wrong, without a value that could be a secret.
pub(super) fn asked(url: &str) -> Result<(String, Asked), String> {
    // A password may hold any character but "@".
    let from = url.find('@').unwrap_or(0);
    let Some(at) = url[from..].find('?').map(|at| from + at) else { return Ok((url.to_owned(), Asked::default())) };
    let (mut asked, mut rest) = (Asked::default(), Vec::new());
    for param in url[at + 1..].split('&') {
        match param.split_once('=') {
            Some(("sslmode", mode)) => match mode {
                "disable" | "prefer" => asked.required = false,
                "require" | "verify-ca" | "verify-full" => asked.required = true,
                _ => return Err("sslmode is disable, prefer, require or verify-full".into()),
            },
            Some(("sslrootcert", "system")) => asked.authorities = None,
            Some(("sslrootcert", path)) => asked.authorities = Some(unescaped(path)?),
            _ => rest.push(param),
        }
    }
    if asked.authorities.is_some() && !asked.required {
        return Err("sslrootcert says whom to trust, but nothing is to be encrypted: add sslmode=verify-full".into());
    }
    let bare = &url[..at];
    Ok((if rest.is_empty() { bare.to_owned() } else { format!("{bare}?{}", rest.join("&")) }, asked))
}

/// `%2F` is `/`.
fn unescaped(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok();
        match (first, after.get(..2).and_then(escape)) {
            (b'%', Some(byte)) => (bytes.push(byte), rest = &after[2..]).1,
            _ => (bytes.push(*first), rest = after).1,
        }
    }
    String::from_utf8(bytes).map_err(|_| "sslrootcert is not UTF-8".into())
}

/// Wraps connections; what is not to be encrypted never comes here.
#[derive(Clone)]
pub(super) struct Encrypt(Option<Arc<ClientConfig>>);

impl Encrypt {
    /// Reads whom to trust.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn new(asked: &Asked) -> Result<Encrypt, String> {
        if !asked.required {
            return Ok(Encrypt(None));
        }
        let mut trusted = RootCertStore::empty();
        let place = match &asked.authorities {
            Some(path) => {
                let fault = |fault: &dyn std::fmt::Display| format!("sslrootcert {path} cannot be read: {fault}");
                for authority in CertificateDer::pem_file_iter(path).map_err(|told| fault(&told))? {
                    let authority = authority.map_err(|told| fault(&told))?;
                    trusted.add(authority).map_err(|told| fault(&told))?;
                }
                format!("sslrootcert {path}")
            }
            None => {
                trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                "the system (ca-certificates)".into()
            }
        };
        if trusted.is_empty() {
            return Err(format!("{place} has no certificates: nobody could be trusted; name a file with sslrootcert"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|told| format!("TLS cannot be spoken: {told}"))?;
        Ok(Encrypt(Some(Arc::new(config.with_root_certificates(trusted).with_no_client_auth()))))
    }
}

/// Why there is no encrypted connection though both sides answer: what to do. `None`: it is another error.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let source = error.source()?;
    if source.to_string() == "server does not support TLS" {
        return Some(
            "it offers no encryption: set ssl = on there, or take sslmode out of catalogue.postgres_url (POSTGRES_URL)"
                .into(),
        );
    }
    let told = source.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
    match told {
        rustls::Error::InvalidCertificate(why) => Some(format!(
            "its certificate is not trusted ({why}): sslrootcert=FILE in catalogue.postgres_url (POSTGRES_URL) names the \
             authority that signed it, and it must name the host as the URL does"
        )),
        _ => None,
    }
}

/// To one host.
pub(super) struct To {
    config: Option<Arc<ClientConfig>>,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Encrypt {
    type Stream = Encrypted<S>;
    type TlsConnect = To;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<To> {
        Ok(To { config: self.0.clone(), host: host.to_owned() })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for To {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let config = self.config.ok_or_else(|| io::Error::other("nothing is to be encrypted"))?;
            let host = ServerName::try_from(self.host).map_err(io::Error::other)?;
            TlsConnector::from(config).connect(host, stream).await.map(Encrypted)
        })
    }
}

/// An encrypted connection.
pub(super) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, waker: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(waker, to)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, waker: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(waker, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, waker: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(waker)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, waker: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(waker)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn what_the_driver_does_not_know_is_taken_out_of_the_url() {
        let of = |required, authorities: Option<&str>| Asked { required, authorities: authorities.map(String::from) };
        for (url, bare, expected) in [
            ("postgres://u:p@h/d", "postgres://u:p@h/d", of(false, None)),
            ("postgres://u:p?x@h/d?sslmode=prefer", "postgres://u:p?x@h/d", of(false, None)),
            ("postgres://u:p@h/d?sslmode=require", "postgres://u:p@h/d", of(true, None)),
            ("postgres://h/d?sslmode=verify-full&sslrootcert=system", "postgres://h/d", of(true, None)),
            (
                "postgres://u:p@h/d?connect_timeout=3&sslmode=verify-ca&sslrootcert=%2Fa%20b.pem&application_name=x",
                "postgres://u:p@h/d?connect_timeout=3&application_name=x",
                of(true, Some("/a b.pem")),
            ),
        ] {
            assert_eq!(asked(url), Ok((bare.to_owned(), expected)), "{url}");
        }
        assert!(asked("postgres://h/d?sslmode=hush").unwrap_err().starts_with("sslmode is"));
        assert!(asked("postgres://h/d?sslrootcert=/x").unwrap_err().contains("add sslmode=verify-full"));
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let of = |path: &str| Encrypt::new(&Asked { required: true, authorities: Some(path.into()) }).err().unwrap();
        assert!(of("/nowhere.pem").contains("sslrootcert /nowhere.pem cannot be read"));
        assert!(of("/dev/null").contains("has no certificates"), "{}", of("/dev/null"));
        assert!(Encrypt::new(&Asked::default()).unwrap().0.is_none());
    }
}
