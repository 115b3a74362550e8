//! The store: SQLite embedded or PostgreSQL, one SQL text for both.

pub mod outbox;
