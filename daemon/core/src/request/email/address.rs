//! When two mail addresses are the same.

/// The parts by which two addresses are the same: lower-cased local part, A-label domain.
/// `None` without both parts or with a domain that cannot exist.
#[must_use]
pub fn address_key(address: &str) -> Option<(String, String)> {
    let (local, domain) = address.trim().rsplit_once('@')?;
    if local.is_empty() || domain.is_empty() {
        return None;
    }
    let domain = match url::Host::parse(domain) {
        Ok(url::Host::Domain(ascii)) => ascii,
        _ if domain.starts_with('[') => domain.to_ascii_lowercase(),
        _ => return None,
    };
    Some((local.to_lowercase(), domain))
}
