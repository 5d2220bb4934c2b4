//! A certificate of one's own for servers on loopback, and the authority that vouches for it, made
//! by `openssl`.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// How a key on the curve P-256 is made.
const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// Files of a certificate for `localhost` and 127.0.0.1.
pub struct Certificate {
    /// What a client must trust.
    pub authority: PathBuf,
    /// What the server shows.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    _folder: TempDir,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Errors
    /// `openssl` is missing, or what it says.
    pub fn new() -> Result<Certificate> {
        Certificate::signed_with(&CURVE)
    }

    /// The same, signed with Ed25519, which has no hash to which a password could be bound.
    ///
    /// # Errors
    /// As `new`.
    pub fn without_hash() -> Result<Certificate> {
        Certificate::signed_with(&["-newkey", "ed25519", "-nodes"])
    }

    /// `key_of_authority`: how that is made.
    fn signed_with(key_of_authority: &[&str]) -> Result<Certificate> {
        let folder = tempfile::Builder::new().prefix("certificate").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let names = at("names");
        std::fs::write(
            &names,
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
        )?;
        let of = |path: &Path| path.display().to_string();
        let (authority, authority_key) = (of(&at("authority.pem")), of(&at("authority.key")));
        let (certificate, key, request) =
            (of(&at("server.pem")), of(&at("server.key")), of(&at("server.csr")));
        let own = [
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=tests",
            "-keyout",
            &authority_key,
            "-out",
            &authority,
        ];
        openssl(&[&own[..], key_of_authority].concat())?;
        openssl(
            &[&["req", "-subj", "/CN=localhost", "-keyout", &key, "-out", &request][..], &CURVE]
                .concat(),
        )?;
        let signed = [
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            &authority,
            "-CAkey",
            &authority_key,
        ];
        openssl(
            &[&signed[..], &["-CAcreateserial", "-extfile", &of(&names), "-out", &certificate]]
                .concat(),
        )?;
        let (authority, certificate, key) = (authority.into(), certificate.into(), key.into());
        Ok(Certificate { authority, certificate, key, _folder: folder })
    }
}

fn openssl(args: &[&str]) -> Result<()> {
    let done = Command::new("openssl").args(args).output();
    let done =
        done.context("tests of encrypted connections need openssl: apt-get install openssl")?;
    ensure!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
