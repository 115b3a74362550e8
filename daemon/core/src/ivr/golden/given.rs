//! What a test gives, as the start of a call and the world around it.

use std::sync::Arc;
use std::time::Duration;

use super::file::{Given, GivenLine, GivenQueue, GivenReply, GivenService, GoldenTest, World};
use super::run::{NOW, make_absolute};
use crate::ivr::io::{
    CallFacts, FindReply, Hours, HttpMethod, HttpReply, QueueFacts, QueueView, Start,
};
use crate::ivr::read;
use crate::ivr::sim::{self, Answer, Service};
use crate::phone::PhoneNumber;
use crate::time::Wall;

/// From the call to the next opening, where the desk is closed.
const NIGHT: Duration = Duration::from_secs(20 * 3_600);

impl GoldenTest {
    pub(in crate::ivr) fn start(&self) -> Start {
        self.given.start(&self.flow, NOW)
    }
}

impl World {
    /// A call of a flow that begins at `wall`, where the world says nothing of it.
    #[must_use]
    pub fn start(&self, flow: &str, wall: Wall) -> Start {
        self.0.start(flow, wall)
    }

    /// The world of a simulated call.
    #[must_use]
    pub fn made(&self) -> sim::World {
        self.0.world()
    }

    /// What becomes of the flow's orders.
    #[must_use]
    pub fn orders(&self) -> Answer {
        self.0.callback.answer()
    }

    /// The flow that is the help channel.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

impl Given {
    fn start(&self, flow: &str, wall: Wall) -> Start {
        let mut input = self.input.clone();
        make_absolute(&mut input, wall);
        Start {
            flow: flow.to_owned(),
            call: CallFacts {
                id: "test".to_owned(),
                from: self.call.from.as_deref().map(PhoneNumber::from_row),
                to: self.call.to.clone().unwrap_or_else(|| "100".to_owned()),
                direction: if self.input.is_empty() { "in" } else { "out" },
                queue: "help".to_owned(),
            },
            input,
            language: self.lang.clone().unwrap_or_else(|| "en-US".to_owned()),
            wall,
            hours: Hours {
                open: self.open.unwrap_or(true),
                // The next morning, if it is closed.
                next_open: Some(match self.open {
                    Some(false) => wall + NIGHT,
                    _ => wall,
                }),
            },
            queues: Arc::new(self.queues.iter().map(GivenLine::named).collect()),
            env: self.env.clone(),
            zone: "UTC".to_owned(),
        }
    }
}

impl Given {
    pub(super) fn world(&self) -> sim::World {
        let mut record = self.lookup.clone();
        if let Some(record) = &mut record {
            make_absolute(record, NOW);
        }
        sim::World {
            services: self.http.iter().map(GivenService::service).collect(),
            record: record.map_or(FindReply::Miss, |r| FindReply::Record(r.into())),
            delivers: self.delivers.unwrap_or(true),
            queue: self.queue.view(),
            lengths: None,
        }
    }
}

impl GivenLine {
    fn named((name, line): (&String, &GivenLine)) -> (String, QueueFacts) {
        let facts = QueueFacts {
            waiting: line.waiting,
            agents: line.agents,
            ewt: line.ewt.as_deref().and_then(read::duration),
            open: line.open,
        };
        (name.clone(), facts)
    }
}

impl GivenQueue {
    pub(super) fn view(&self) -> QueueView {
        QueueView {
            position: self.position,
            waiting: self.waiting,
            agents: self.agents,
            ewt: self.ewt.as_deref().and_then(read::duration),
        }
    }
}

impl GivenService {
    fn service(&self) -> Service {
        let method = self.method.as_deref();
        let reply = self.reply.as_ref().map(GivenReply::reply);
        Service {
            method: method.and_then(|word| HttpMethod::ALL.into_iter().find(|m| m.word() == word)),
            url: self.url.clone(),
            after: self
                .after
                .as_deref()
                .and_then(read::duration)
                .unwrap_or_default(),
            reply: reply.unwrap_or_else(|| HttpReply::Failed("not reachable".to_owned())),
        }
    }
}

impl GivenReply {
    fn reply(&self) -> HttpReply {
        let headers = self.headers.iter();
        HttpReply::Answer {
            status: self.status,
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                .collect(),
            body: self.body.clone(),
        }
    }
}
