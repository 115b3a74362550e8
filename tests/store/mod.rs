//! The store from outside: how much it takes, and what a killed daemon leaves. Every
//! single function is tested on both databases beside the code.

mod rate;
