//! Whether a call's media is encrypted: keys in our offers and answers (SDES), and what
//! follows from the peer's.

use helpline_core::sdp::sdes::{self, SrtpKey, SrtpKeys};
use helpline_core::sdp::{self, Local, Negotiated, SdpError};

use crate::config::SrtpUse;

/// How one call treats keys; our key is its own.
#[derive(Clone, Debug)]
pub(super) struct Secrecy {
    wanted: SrtpUse,
    key: SrtpKey,
}

/// What both sides agreed on, keys included.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) media: Negotiated,
    pub(super) keys: Option<SrtpKeys>,
    pub(super) secrecy: Secrecy,
}

impl From<Negotiated> for Agreed {
    /// Without keys, and none are wanted later.
    fn from(media: Negotiated) -> Self {
        Agreed {
            media,
            keys: None,
            secrecy: Secrecy::off(),
        }
    }
}

impl Secrecy {
    /// Never.
    pub(super) fn off() -> Secrecy {
        Secrecy {
            wanted: SrtpUse::Off,
            key: SrtpKey::new([0; 30]),
        }
    }

    /// A new key if one may be needed. `None`: the operating system gave no randomness.
    pub(super) fn new(wanted: SrtpUse) -> Option<Secrecy> {
        if wanted == SrtpUse::Off {
            return Some(Secrecy::off());
        }
        let mut key = [0; 30];
        getrandom::fill(&mut key).ok()?;
        Some(Secrecy {
            wanted,
            key: SrtpKey::new(key),
        })
    }

    /// The same call without encryption, if it may do without.
    pub(super) fn without(&self) -> Option<Secrecy> {
        (self.wanted == SrtpUse::Optional).then(Secrecy::off)
    }

    /// Our offer.
    pub(super) fn offer(&self, local: &Local) -> String {
        let plain = sdp::offer(local);
        match self.wanted {
            SrtpUse::Off => plain,
            SrtpUse::Optional | SrtpUse::Required => sdes::seal(&plain, 1, &self.key),
        }
    }

    /// Our answer to an offer: encrypted if it was offered so.
    pub(super) fn answer(&self, theirs: &str, local: &Local) -> Result<(String, Agreed), SdpError> {
        let (plain, key) = self.unseal(theirs)?;
        let (text, media) = sdp::answer(&plain, local)?;
        match key {
            None => Ok((text, self.agreed(media, None))),
            Some((tag, theirs)) => {
                let text = sdes::seal(&text, tag, &self.key);
                Ok((text, self.agreed(media, Some(theirs))))
            }
        }
    }

    /// Reads the answer to `offer`, made by [`Secrecy::offer`].
    pub(super) fn accept(&self, answer: &str, offer: &str) -> Result<Agreed, SdpError> {
        let (plain, key) = match self.wanted {
            SrtpUse::Off => (answer.to_owned(), None),
            // A secure offer cannot be answered by a plain stream (RFC 3264 section 6).
            SrtpUse::Optional | SrtpUse::Required => match sdes::unseal(answer) {
                (plain, Some((1, key))) => (plain, Some(key)),
                (_, Some(_) | None) => return Err(SdpError::NoAudio),
            },
        };
        let media = sdp::accept_answer(&plain, &sdes::unseal(offer).0)?;
        Ok(self.agreed(media, key))
    }

    fn unseal(&self, theirs: &str) -> Result<(String, Option<(u32, SrtpKey)>), SdpError> {
        match self.wanted {
            SrtpUse::Off => Ok((theirs.to_owned(), None)),
            SrtpUse::Optional => Ok(sdes::unseal(theirs)),
            SrtpUse::Required => match sdes::unseal(theirs) {
                (_, None) => Err(SdpError::NoAudio),
                secure => Ok(secure),
            },
        }
    }

    fn agreed(&self, media: Negotiated, theirs: Option<SrtpKey>) -> Agreed {
        let ours = self.key;
        Agreed {
            media,
            keys: theirs.map(|theirs| SrtpKeys { ours, theirs }),
            secrecy: self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use helpline_core::sdp::Codec;

    use super::*;

    fn local(port: u16) -> Local {
        Local {
            address: ([127, 0, 0, 1], port).into(),
            session: 1,
            version: 1,
            codecs: vec![Codec::Pcmu],
        }
    }

    #[test]
    fn every_pair_of_wishes_ends_as_it_should() {
        use SrtpUse::{Off, Optional, Required};
        for (caller, callee, want) in [
            (Off, Off, Some(false)),
            (Off, Optional, Some(false)),
            (Off, Required, None),
            (Optional, Off, None), // refused with 488, and offered again without
            (Optional, Optional, Some(true)),
            (Optional, Required, Some(true)),
            (Required, Off, None),
            (Required, Optional, Some(true)),
            (Required, Required, Some(true)),
        ] {
            let (near, far) = (Secrecy::new(caller).unwrap(), Secrecy::new(callee).unwrap());
            let offer = near.offer(&local(4_000));
            let answered = far.answer(&offer, &local(5_000));
            assert_eq!(answered.is_ok(), want.is_some(), "{caller:?} {callee:?}");
            let (Ok((answer, theirs)), Some(encrypted)) = (answered, want) else {
                continue;
            };
            let ours = near.accept(&answer, &offer).unwrap();
            let (a, b) = (ours.keys, theirs.keys);
            assert_eq!(a.is_some(), encrypted, "{caller:?} {callee:?}");
            assert_eq!(a.map(|k| (k.ours, k.theirs)), b.map(|k| (k.theirs, k.ours)));
        }
    }

    #[test]
    fn a_plain_answer_to_a_secure_offer_is_no_answer() {
        let near = Secrecy::new(SrtpUse::Optional).unwrap();
        let offer = near.offer(&local(4_000));
        let plain = sdp::offer(&local(5_000));
        assert!(near.accept(&plain, &offer).is_err());
        assert!(near.without().is_some());
        assert!(Secrecy::new(SrtpUse::Required).unwrap().without().is_none());
    }
}
