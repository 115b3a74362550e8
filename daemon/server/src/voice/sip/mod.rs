//! SIP signalling. The stack (rsipstack) stays inside this folder: no type of it
//! appears in an interface that leaves it. Outside there is a [`SipStack`] that sends
//! and accepts INVITEs, and a [`SipLeg`] whose events are plain data.

mod auth;
mod demand;
mod leg;
mod peers;
mod phones;
mod socket;
mod stack;
mod upkeep;

pub(in crate::voice) use demand::Demand;
pub(in crate::voice) use leg::{Reoffer, SipEvent, SipLeg};
pub(in crate::voice) use peers::{Peers, TrunkPeer};
pub(in crate::voice) use phones::{Phones, REALM};
pub(in crate::voice) use stack::{Admission, InviteIn, InviteOut, SipConfig, SipError, SipStack};
