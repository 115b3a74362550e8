//! The line: life cycle of a request, who is next, retries, and the estimated wait.

pub mod ewt;
