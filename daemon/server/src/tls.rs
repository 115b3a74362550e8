//! Certificates of SIP, SMTP and LMTP over TLS: ours for peers that come, and whom we trust when
//! we go.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What cannot be used as a certificate, key or name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file, and why.
    #[error("{0}: {1}")]
    File(String, String),
    /// The pieces do not fit each other.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// No certificate can hold this name.
    #[error("{0:?} is no name for a certificate")]
    Name(String),
    /// The system trusts nobody.
    #[error("no certificates of the system were found; name a ca_file")]
    NoRoots,
}

/// How we go to a peer by TLS.
#[derive(Debug)]
pub(crate) struct TlsClient {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl TlsClient {
    /// Trusts `ca_file`, or the system's certificates; the peer's must hold `name`. `own`
    /// is our certificate and key, shown when the peer asks.
    pub(crate) fn new(
        name: &str,
        ca_file: Option<&Path>,
        own: Option<(&Path, &Path)>,
    ) -> Result<TlsClient, TlsError> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate)?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
                if roots.is_empty() {
                    return Err(TlsError::NoRoots);
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match own {
            Some((chain, key)) => {
                builder.with_client_auth_cert(certificates(chain)?, private_key(key)?)?
            }
            None => builder.with_no_client_auth(),
        };
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        Ok(TlsClient {
            config: Arc::new(config),
            name,
        })
    }
}

/// What we show to peers that come by TLS.
pub(crate) fn server(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(chain)?, private_key(key)?)?;
    Ok(Arc::new(config))
}

/// Two crates of the tree bring a provider: this says which.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |why: String| TlsError::File(file.display().to_string(), why);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|e| fault(e.to_string()))?
        .collect();
    let found = found.map_err(|e| fault(e.to_string()))?;
    if found.is_empty() {
        return Err(fault("no certificate is in it".into()));
    }
    Ok(found)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|e| TlsError::File(file.display().to_string(), e.to_string()))
}
