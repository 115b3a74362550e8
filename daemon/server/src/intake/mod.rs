//! (to be written)
pub mod phone;
