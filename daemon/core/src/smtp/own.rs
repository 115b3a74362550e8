//! Whose address a recipient is.

use crate::request::email::{Keys, address_key};

/// Whose address a recipient is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    Ours,
    UnknownHere,
    Elsewhere,
}

/// Compares by lower-cased local part and A-label domain; `postmaster` is always ours (RFC 5321
/// §4.5.1). Behind a plus only a token that we made is known.
pub(super) fn ownership(own: &[String], keys: &Keys, address: &str) -> Ownership {
    let Some(given) = address_key(address) else {
        let is_postmaster = address.eq_ignore_ascii_case("postmaster");
        return if is_postmaster {
            Ownership::Ours
        } else {
            Ownership::Elsewhere
        };
    };
    let mut here = false;
    for ours in own.iter().filter_map(|a| address_key(a)) {
        if ours == given {
            return Ownership::Ours;
        }
        here |= ours.1 == given.1;
    }
    match here {
        true if keys.recipient(own, address).is_some() => Ownership::Ours,
        true if given.0 == "postmaster" => Ownership::Ours,
        true => Ownership::UnknownHere,
        false => Ownership::Elsewhere,
    }
}
