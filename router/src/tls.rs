//! Certificates of a router: a local authority made once, and one certificate per host of the table.

use crate::engine::tables::Tables;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Certificates kept in memory; a platform's cell has 10 000 environments.
const CACHED_MAX: usize = 16_384;

/// Days that a certificate is valid; browsers accept at most 398.
const VALID_DAYS: i64 = 90;

/// A certificate with fewer days left is made anew.
const RENEW_DAYS: i64 = 30;

/// Why no certificate could be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Disk.
    #[error("certificates in {path}: {source}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Signing or reading.
    #[error("certificate of {name}: {why}")]
    Certificate {
        /// Whose.
        name: String,
        /// Why.
        why: String,
    },
}

/// The local certificate authority.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads the authority in this folder, or makes one.
    pub fn open(folder: &Path) -> Result<Self, TlsError> {
        let disk = |source| TlsError::Disk { path: folder.to_path_buf(), source };
        let wrong = |why: String| TlsError::Certificate { name: "the local authority".into(), why };
        fs::create_dir_all(folder).map_err(disk)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("hosts")).map_err(disk)?;
        let (certificate_path, key_path) = (folder.join("ca.pem"), folder.join("ca.key"));
        if !certificate_path.exists() || !key_path.exists() {
            let (certificate, key) = new_authority().map_err(|e| wrong(e.to_string()))?;
            // The key first: a certificate on disk then always has its key.
            write(&key_path, &key, 0o600).map_err(disk)?;
            write(&certificate_path, &certificate, 0o644).map_err(disk)?;
        }
        let pem = fs::read_to_string(&certificate_path).map_err(disk)?;
        let key = KeyPair::from_pem(&fs::read_to_string(&key_path).map_err(disk)?).map_err(|e| wrong(e.to_string()))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|e| wrong(e.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { folder: folder.to_path_buf(), issuer, certificate })
    }

    /// The file that a person gives to a browser.
    pub fn certificate_path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// How to trust it, for people.
    pub fn how_to_trust(&self) -> String {
        let path = self.certificate_path();
        let path = path.display();
        format!(
            "Certificates come from this platform's own authority: {path}\n\
             curl:     curl --cacert {path} https://…\n\
             system:   sudo cp {path} /usr/local/share/ca-certificates/slipway.crt && sudo update-ca-certificates\n\
             browsers: import it as an authority for web sites\n"
        )
    }

    fn host(&self, name: &str, today: i64) -> Result<CertifiedKey, TlsError> {
        let wrong = |why: String| TlsError::Certificate { name: name.to_string(), why };
        let path = self.folder.join("hosts").join(format!("{}.pem", name.replace('*', "_")));
        if let Some(pem) = fs::read_to_string(&path).ok().filter(|pem| days_left(pem, today) > RENEW_DAYS)
            && let Ok(key) = self.certified(name, &pem)
        {
            return Ok(key);
        }
        let pem = self.sign(name, today).map_err(|e| wrong(e.to_string()))?;
        write(&path, &pem, 0o600).map_err(|source| TlsError::Disk { path, source })?;
        self.certified(name, &pem)
    }

    fn sign(&self, name: &str, today: i64) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::new(vec![name.to_string()])?;
        params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // A day back: clients' clocks differ.
        params.not_before = { let (y, m, d) = date(today - 1); date_time_ymd(y, m, d) };
        params.not_after = { let (y, m, d) = date(today + VALID_DAYS); date_time_ymd(y, m, d) };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(format!("expires-day: {}\n{}{}", today + VALID_DAYS, certificate.pem(), key.serialize_pem()))
    }

    fn certified(&self, name: &str, pem: &str) -> Result<CertifiedKey, TlsError> {
        let wrong = |why: String| TlsError::Certificate { name: name.to_string(), why };
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        let key = ring::sign::any_supported_type(&key).map_err(|e| wrong(e.to_string()))?;
        let certified = CertifiedKey::new(vec![certificate, self.certificate.clone()], key);
        certified.keys_match().map_err(|e| wrong(e.to_string()))?;
        Ok(certified)
    }
}

fn days_left(pem: &str, today: i64) -> i64 {
    let first = pem.lines().next().and_then(|line| line.strip_prefix("expires-day: "));
    first.and_then(|day| day.parse::<i64>().ok()).map_or(0, |day| day - today)
}

fn new_authority() -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Slipway local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let today = today();
    params.not_before = { let (y, m, d) = date(today - 1); date_time_ymd(y, m, d) };
    params.not_after = { let (y, m, d) = date(today + 3650); date_time_ymd(y, m, d) };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Days since 1970.
fn today() -> i64 {
    crate::engine::clock::Clock::unix_us() / 86_400_000_000
}

/// Year, month and day of a day since 1970 (Howard Hinnant's civil_from_days).
fn date(days: i64) -> (i32, u8, u8) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (i32::try_from(year).unwrap_or(2100), u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let next = path.with_extension("next");
    let _ = fs::remove_file(&next);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, path)
}

/// Gives each TLS client the certificate of the host it asks for, if the table has that host.
#[derive(Debug)]
pub struct HostCertificates {
    authority: Authority,
    tables: Arc<Tables>,
    cache: Mutex<HashMap<String, (i64, Arc<CertifiedKey>)>>,
}

impl HostCertificates {
    /// For the hosts of these tables.
    pub fn new(authority: Authority, tables: Arc<Tables>) -> Arc<Self> {
        Arc::new(Self { authority, tables, cache: Mutex::default() })
    }

    /// The authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The certificate for a host of the table.
    pub fn of_host(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let name = self.tables.current().certificate_name(&host.to_ascii_lowercase())?;
        let today = today();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((looked_at, key)) = cache.get(&name)
            && *looked_at == today
        {
            return Some(Arc::clone(key));
        }
        let made = self.authority.host(&name, today).inspect_err(|e| tracing::error!("{e}")).ok()?;
        if cache.len() >= CACHED_MAX {
            // All are on disk; the ones in use come back at once.
            cache.clear();
        }
        let key = Arc::new(made);
        // Once a day the file is looked at again, and made anew when it is due.
        cache.insert(name, (today, Arc::clone(&key)));
        Some(key)
    }

    /// The TLS side of the https listener.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Certificate { name: "the https listener".into(), why: e.to_string() })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for HostCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.of_host(hello.server_name()?)
    }
}
