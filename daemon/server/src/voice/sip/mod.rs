//! SIP signalling. The stack (rsipstack) stays inside this folder: no type of it
//! appears in an interface that leaves it. Outside there is a [`SipStack`] that sends
//! and accepts INVITEs, and a [`SipLeg`] whose events are plain data.

mod auth;
mod demand;
mod guard;
mod leg;
mod own;
mod peers;
mod phones;
mod pipe;
mod refer;
mod referral;
mod register;
mod route;
mod socket;
mod stack;
mod streams;
mod unreachable;
mod upkeep;

pub(in crate::voice) use crate::tls::{TlsClient, server as tls_server};
pub(in crate::voice) use demand::Demand;
pub(in crate::voice) use leg::{Reoffer, SipEvent, SipLeg};
pub(in crate::voice) use peers::{Peers, TrunkPeer};
pub(in crate::voice) use phones::{Phones, REALM};
pub(in crate::voice) use refer::{Refer, ReferTo};
pub(in crate::voice) use register::Register;
pub(in crate::voice) use route::{Route, Transport};
pub(in crate::voice) use stack::{
    Admission, InviteIn, InviteOut, Listen, SipConfig, SipError, SipStack,
};
pub(in crate::voice) use unreachable::Nobody;
