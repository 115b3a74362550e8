//! A desk over a store in a folder of its own, for tests of what stands above it.

use helpline_core::phone::PhoneNumber;
use helpline_core::request::{Channel, HelpRequest, When};
use helpline_core::time::Wall;

use super::{Arc, Clock, Config, Desk, Queue, Store};
use crate::store::look;
use crate::store::tests::trunk_config;

/// 2026-11-23T13:20:00Z: when every stage begins.
pub(crate) const NOW: Wall = Wall::from_millis(1_795_440_000_000);

/// One queue with one call at a time, a trunk, numbers of Germany, pages in Berlin time.
pub(crate) fn config() -> Config {
    let mut config = Config {
        queue: vec![Queue {
            max_calls: 1,
            ..Queue::default()
        }],
        trunk: vec![trunk_config("carrier", 10, 10.0)],
        ..Config::default()
    };
    config.site.zone = "Europe/Berlin".into();
    config.dial.region = Some("DE".into());
    config.dial.allow = vec!["DE".into()];
    config.http.requests_per_minute = 1000;
    config
}

/// The `n`-th customer of a test asks for a call now, and says no more of himself.
pub(crate) fn request(n: u32) -> HelpRequest {
    HelpRequest {
        whom: helpline_core::request::Whom::default(),
        queue: "help".into(),
        channel: Channel::Json,
        number: PhoneNumber::from_row(&format!("+4930123{n:04}")),
        name: None,
        email: None,
        page: None,
        note: None,
        language: "en".into(),
        zone: None,
        when: When::Now,
    }
}

/// See the module.
pub(crate) struct Stage {
    pub(crate) desk: Arc<Desk>,
    pub(crate) clock: Clock,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Opens and starts a desk that keeps `config`.
    pub(crate) async fn new(config: Config) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::following_tokio(NOW);
        let store = Store::open_sqlite(folder.path(), &clock).await.unwrap();
        let mut calendars = config.calendars();
        calendars.retain(|queue, _| {
            let queue = config.queue.iter().find(|q| q.name == *queue);
            queue.is_some_and(|q| !q.calendar.is_empty())
        });
        let desk = Desk::new(store, Arc::new(config), calendars, clock.clone(), 1);
        desk.start().await.unwrap();
        Stage {
            desk: Arc::new(desk),
            clock,
            _folder: folder,
        }
    }

    /// Runs one statement on the store; `values` are bound as text.
    pub(crate) async fn run(&self, sql: &'static str, values: &[&str]) {
        look::run(&self.desk.store, sql, values).await;
    }

    /// Every row of a query whose columns are text.
    pub(crate) async fn rows<const N: usize>(&self, sql: &'static str) -> Vec<[String; N]> {
        look::rows(&self.desk.store, sql).await
    }

    /// From now on the database is gone.
    pub(crate) fn lose_the_store(&self) {
        self.desk.store.break_after(0);
    }
}
