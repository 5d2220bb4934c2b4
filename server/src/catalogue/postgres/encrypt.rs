//! TLS to PostgreSQL: what the URL asks for, whom it trusts, and the connection wrapped.
//!
//! `sslmode=require`, `verify-ca` and `verify-full` are one: the server's certificate must lead to a trusted authority and name
//! the host, as with `verify-full` of other clients; less would keep out nobody who can stand between. Trusted are the
//! authorities of the file that `sslrootcert` names, else those of the system (`SSL_CERT_FILE` names others).
//! Without `sslmode`, and with `disable` or `prefer`, nothing is encrypted. Channel binding is offered, so that who takes part
//! in the connection must also know the password. Certificates of clients are not. Every parameter of the URL is used, or
//! refused by its name.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256, Sha384, Sha512};
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
pub(super) struct TlsParameters {
    /// Whether it must be encrypted.
    pub(super) required: bool,
    /// A file of authorities.
    pub(super) authorities: Option<String>,
}

/// Parts a URL into what the driver understands, and what it asks for here.
///
/// # Errors
/// What is wrong, without a value that could be a secret.
pub(super) fn asked(url: &str) -> Result<(String, TlsParameters), String> {
    // A password may hold any character but "@".
    let from = url.find('@').unwrap_or(0);
    let Some(at) = url[from..].find('?').map(|at| from + at) else {
        return Ok((url.to_owned(), TlsParameters::default()));
    };
    let (mut asked, mut rest, mut binding) = (TlsParameters::default(), Vec::new(), false);
    for param in url[at + 1..].split('&') {
        match param.split_once('=') {
            Some(("sslmode", mode)) => match mode {
                "disable" | "prefer" => asked.required = false,
                "require" | "verify-ca" | "verify-full" => asked.required = true,
                _ => return Err("sslmode must be disable, prefer, require or verify-full".into()),
            },
            Some(("sslrootcert", "system")) => asked.authorities = None,
            Some(("sslrootcert", path)) => asked.authorities = Some(unescaped(path)?),
            Some(("channel_binding", mode)) => {
                match mode {
                    "disable" | "prefer" => binding = false,
                    "require" => binding = true,
                    _ => return Err("channel_binding must be disable, prefer or require".into()),
                }
                rest.push(param);
            }
            Some(("gssencmode", "disable" | "prefer") | ("sslnegotiation", "postgres")) => {}
            Some((key, _)) if DRIVERS.contains(&key) => rest.push(param),
            Some((key, _)) => return Err(unknown(key)),
            None if param.is_empty() => {}
            None => return Err(unknown(param)),
        }
    }
    if asked.authorities.is_some() && !asked.required {
        return Err(
            "sslrootcert names a trusted authority, but encryption is not requested: add sslmode=verify-full".into()
        );
    }
    if binding && !asked.required {
        return Err("channel_binding=require needs encryption, which is not requested: add sslmode=verify-full".into());
    }
    let bare = &url[..at];
    Ok((if rest.is_empty() { bare.to_owned() } else { format!("{bare}?{}", rest.join("&")) }, asked))
}

/// Parameters that the driver reads.
const DRIVERS: [&str; 14] = [
    "application_name",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "port",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// A parameter that means nothing here, by its name where that is one.
fn unknown(key: &str) -> String {
    match key {
        "sslcert" | "sslkey" | "sslpassword" => format!("client certificates are not supported: remove {key}"),
        "gssencmode" | "sslnegotiation" => format!("this kind of encryption is not supported: remove {key}"),
        _ if !key.is_empty()
            && key.len() <= 40
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') =>
        {
            format!("unsupported parameter \"{key}\": remove it")
        }
        _ => "unsupported parameter: remove it".into(),
    }
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
    pub(super) fn new(asked: &TlsParameters) -> Result<Encrypt, String> {
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
            return Err(format!(
                "{place} has no certificates, so no authority is trusted; name a file with sslrootcert"
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|told| format!("TLS failed: {told}"))?;
        Ok(Encrypt(Some(Arc::new(config.with_root_certificates(trusted).with_no_client_auth()))))
    }
}

/// Why there is no encrypted connection though both sides answer: what to do. `None`: it is another error.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let source = error.source()?;
    if source.to_string() == "server does not support TLS" {
        return Some(
            "it offers no encryption: set ssl = on there, or remove sslmode from catalogue.postgres_url (POSTGRES_URL)"
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
        let certificate = self.0.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let bound = certificate.and_then(|certificate| end_point(certificate));
        bound.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// What RFC 5929 calls `tls-server-end-point`: the certificate's hash, by the function of its signature, SHA-256 for the weak
/// ones. `None`: its signature has none that is known here.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let sequence = |bytes| part(bytes, 0x30);
    let (whole, _) = sequence(certificate)?;
    let (_, after) = sequence(whole)?;
    let (algorithm, _) = sequence(after)?;
    let (oid, _) = part(algorithm, 0x06)?;
    match oid {
        // RSA with MD5, SHA-1 and SHA-256; ECDSA with SHA-1 and SHA-256.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4 | 5 | 11]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Some(Sha256::digest(certificate).to_vec()),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => {
            Some(Sha384::digest(certificate).to_vec())
        }
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}

/// The content of a part of DER with this tag, and what follows it.
fn part(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match head[1] {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| head[0] == tag)
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
        let of = |required, authorities: Option<&str>| TlsParameters {
            required,
            authorities: authorities.map(String::from),
        };
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
        assert!(asked("postgres://h/d?sslmode=hush").unwrap_err().starts_with("sslmode must"));
        assert!(asked("postgres://h/d?sslrootcert=/x").unwrap_err().contains("add sslmode=verify-full"));
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let of =
            |path: &str| Encrypt::new(&TlsParameters { required: true, authorities: Some(path.into()) }).err().unwrap();
        assert!(of("/nowhere.pem").contains("sslrootcert /nowhere.pem cannot be read"));
        assert!(of("/dev/null").contains("has no certificates"), "{}", of("/dev/null"));
        assert!(Encrypt::new(&TlsParameters::default()).unwrap().0.is_none());
    }
}
