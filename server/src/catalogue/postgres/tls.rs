//! TLS to PostgreSQL: which encryption a URL requests, which authorities are trusted, and what a
//! refusal means.
//!
//! `sslmode=require`, `verify-ca` and `verify-full` mean the same: the server's certificate must
//! lead to a trusted authority and name the host, as with `verify-full` of other clients; less
//! would protect against nobody on the path. The trusted authorities are those of the file that
//! `sslrootcert` names, else those of the system (`SSL_CERT_FILE` names others). Without `sslmode`,
//! and with `disable` or `prefer`, nothing is encrypted. Every parameter of the URL is used, or
//! refused by its name.
//!
//! The handshake and channel binding are those of `tokio-postgres-rustls`; where a certificate
//! allows no binding, `channel_binding` says so. Client certificates are not supported.

use super::channel_binding::{Binding, BindingVerifier, Unbound};
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::error::Error as _;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use tokio_postgres::Error;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The encryption that a URL requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TlsParameters {
    /// Whether the connection must be encrypted.
    pub(super) required: bool,
    /// A file of trusted authorities (PEM); `None`: those of the system.
    pub(super) authorities: Option<String>,
    /// Whether the password is bound to the server's certificate.
    pub(super) binding: Binding,
}

/// Splits a URL into one that the driver understands, and the encryption that it requests.
///
/// # Errors
/// What is wrong, without any value that could be a secret.
pub(super) fn split_url(url: &str) -> Result<(String, TlsParameters), String> {
    // A password may contain any character but "@".
    let from = url.find('@').unwrap_or(0);
    let Some(at) = url[from..].find('?').map(|at| from + at) else {
        return Ok((url.to_owned(), TlsParameters::default()));
    };
    let (mut tls, mut rest) = (TlsParameters::default(), Vec::new());
    for param in url[at + 1..].split('&') {
        match param.split_once('=') {
            Some(("sslmode", mode)) => match mode {
                "disable" | "prefer" => tls.required = false,
                "require" | "verify-ca" | "verify-full" => tls.required = true,
                _ => return Err("sslmode must be disable, prefer, require or verify-full".into()),
            },
            Some(("sslrootcert", "system")) => tls.authorities = None,
            Some(("sslrootcert", path)) => tls.authorities = Some(percent_decoded(path)?),
            Some(("channel_binding", mode)) => {
                tls.binding = match mode {
                    "disable" => Binding::Disable,
                    "prefer" => Binding::Prefer,
                    "require" => Binding::Require,
                    _ => return Err("channel_binding must be disable, prefer or require".into()),
                };
                rest.push(param);
            }
            Some(("gssencmode", "disable" | "prefer") | ("sslnegotiation", "postgres")) => {}
            Some((key, _)) if DRIVER_PARAMETERS.contains(&key) => rest.push(param),
            Some((key, _)) => return Err(unsupported(key)),
            None if param.is_empty() => {}
            None => return Err(unsupported(param)),
        }
    }
    if tls.authorities.is_some() && !tls.required {
        return Err("sslrootcert names a trusted authority, but encryption is not requested: add \
                    sslmode=verify-full"
            .into());
    }
    if tls.binding == Binding::Require && !tls.required {
        return Err("channel_binding=require needs encryption, which is not requested: add \
                    sslmode=verify-full"
            .into());
    }
    let bare = &url[..at];
    Ok((if rest.is_empty() { bare.to_owned() } else { format!("{bare}?{}", rest.join("&")) }, tls))
}

/// Parameters that the driver reads.
const DRIVER_PARAMETERS: [&str; 14] = [
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

/// Refuses a parameter, by its name if it is one.
fn unsupported(key: &str) -> String {
    match key {
        "sslcert" | "sslkey" | "sslpassword" => {
            format!("client certificates are not supported: remove {key}")
        }
        "gssencmode" | "sslnegotiation" => {
            format!("this kind of encryption is not supported: remove {key}")
        }
        _ if !key.is_empty()
            && key.len() <= 40
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') =>
        {
            format!("unsupported parameter \"{key}\": remove it")
        }
        _ => "unsupported parameter: remove it".into(),
    }
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "sslrootcert is not UTF-8")?;
    Ok(decoded.into_owned())
}

/// Makes what encrypts connections; `None`: they are not encrypted.
///
/// # Errors
/// The trusted authorities cannot be read, or there are none.
pub(super) fn connector(parameters: &TlsParameters) -> Result<Option<MakeRustlsConnect>, String> {
    if !parameters.required {
        return Ok(None);
    }
    let trusted = trusted_authorities(parameters.authorities.as_deref())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = BindingVerifier::new(trusted, provider.clone(), parameters.binding)
        .map_err(|error| format!("TLS failed: {error}"))?;
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| format!("TLS failed: {error}"))?;
    // "Dangerous" is a verifier that trusts more than the one of rustls; this one trusts less.
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Some(MakeRustlsConnect::new(config.with_no_client_auth())))
}

/// The authorities of a file, or of the system.
fn trusted_authorities(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut trusted = RootCertStore::empty();
    let place = match file {
        Some(path) => {
            let fault = |error: &dyn Display| format!("sslrootcert {path} cannot be read: {error}");
            for authority in CertificateDer::pem_file_iter(path).map_err(|error| fault(&error))? {
                let authority = authority.map_err(|error| fault(&error))?;
                trusted.add(authority).map_err(|error| fault(&error))?;
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
    Ok(trusted)
}

/// Why both sides answer but agree on no encrypted connection, and what to do. `None`: the error
/// has another cause.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let source = error.source()?;
    if source.to_string() == "server does not support TLS" {
        return Some(
            "it offers no encryption: set ssl = on there, or remove sslmode from \
             catalogue.postgres_url (POSTGRES_URL)"
                .into(),
        );
    }
    let told = source.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(why) = told else { return None };
    if let CertificateError::Other(other) = why
        && let Some(unbound) = other.0.downcast_ref::<Unbound>()
    {
        return Some(format!(
            "{unbound}, but catalogue.postgres_url (POSTGRES_URL) says channel_binding=require: \
             have it signed with SHA-256 (ECDSA, or RSA without PSS), or remove the parameter"
        ));
    }
    Some(format!(
        "its certificate is not trusted ({why}): sslrootcert=FILE in catalogue.postgres_url \
         (POSTGRES_URL) names the authority that signed it, and it must name the host as the URL \
         does"
    ))
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
            binding: Binding::Prefer,
        };
        for (url, bare, expected) in [
            ("postgres://u:p@h/d", "postgres://u:p@h/d", of(false, None)),
            ("postgres://u:p?x@h/d?sslmode=prefer", "postgres://u:p?x@h/d", of(false, None)),
            ("postgres://u:p@h/d?sslmode=require", "postgres://u:p@h/d", of(true, None)),
            (
                "postgres://h/d?sslmode=verify-full&sslrootcert=system",
                "postgres://h/d",
                of(true, None),
            ),
            (
                "postgres://u:p@h/d?connect_timeout=3&sslmode=verify-ca&sslrootcert=%2Fa%20b.pem&application_name=x",
                "postgres://u:p@h/d?connect_timeout=3&application_name=x",
                of(true, Some("/a b.pem")),
            ),
        ] {
            assert_eq!(split_url(url), Ok((bare.to_owned(), expected)), "{url}");
        }
        for (mode, binding) in [
            ("disable", Binding::Disable),
            ("prefer", Binding::Prefer),
            ("require", Binding::Require),
        ] {
            let url = format!("postgres://h/d?sslmode=require&channel_binding={mode}");
            let (bare, tls) = split_url(&url).unwrap();
            assert_eq!(bare, format!("postgres://h/d?channel_binding={mode}"));
            assert_eq!(tls, TlsParameters { binding, ..of(true, None) }, "{mode}");
        }
        assert!(split_url("postgres://h/d?sslmode=hush").unwrap_err().starts_with("sslmode must"));
        assert!(
            split_url("postgres://h/d?sslrootcert=/x")
                .unwrap_err()
                .contains("add sslmode=verify-full")
        );
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let of = |path: &str| {
            let authorities = Some(path.into());
            let tls = TlsParameters { required: true, authorities, ..TlsParameters::default() };
            connector(&tls).err().unwrap()
        };
        assert!(of("/nowhere.pem").contains("sslrootcert /nowhere.pem cannot be read"));
        assert!(of("/dev/null").contains("has no certificates"), "{}", of("/dev/null"));
        assert!(connector(&TlsParameters::default()).unwrap().is_none());
    }
}
