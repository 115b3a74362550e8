//! `helpline queue`: the line, looked at and changed by hand.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use helpline_core::request::email::id_end;
use helpline_core::time::Wall;
use hyper::Method;
use serde_json::{Value, json};

use super::{ConfigArgs, client, control, numbers};
use crate::clock::Clock;
use crate::config::Config;
use crate::desk::request_tag;
use crate::store::peek::Peek;
use crate::store::report::{Happened, Seen, Wanted};

/// Arguments of `helpline queue`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`list` and `show` read the store and need no daemon; the others speak to the running one.
REQUEST is an id or its end, a tag as it stands in mails (7KQ2-9F4M), or a number of which one
request is open.

Exit: 0 done; 1 there is no such request, or the order means nothing for it.")]
pub(super) struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open requests in the order of the line.
    List(List),
    /// One request: what was promised, calls, mail.
    Show(One),
    /// Withdraw a request; a call in progress for it is ended, and the customer is told.
    Cancel(One),
    /// Let a request that is held, or waits for another try, be called at its turn.
    Retry(One),
    /// Ask for a call on behalf of a customer.
    Add(Add),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Of this queue alone.
    #[arg(long)]
    queue: Option<String>,
    /// In this state alone: waiting, scheduled, backoff, held, connected, done, ...
    #[arg(long)]
    state: Option<String>,
    /// Those too that are over and came within this time (`2h`, `7d`).
    #[arg(long, value_name = "TIME", value_parser = super::period)]
    since: Option<std::time::Duration>,
    /// At most so many.
    #[arg(long, default_value_t = 1_000)]
    limit: u32,
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
struct One {
    /// Which request.
    request: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The number to call, as people write it.
    phone: String,
    /// The queue, if not the first one.
    #[arg(long)]
    queue: Option<String>,
    /// The customer's name.
    #[arg(long)]
    name: Option<String>,
    /// Where to write to.
    #[arg(long)]
    email: Option<String>,
    /// What it is about.
    #[arg(long)]
    note: Option<String>,
    /// Only for an agent with this skill.
    #[arg(long)]
    skill: Option<String>,
    /// Rather for this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Not before this time (`2026-11-24T15:30:00Z`).
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Queue {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run().await,
            Command::Show(one) => one.show().await,
            Command::Cancel(one) => one.order("cancel").await,
            Command::Retry(one) => one.order("retry").await,
            Command::Add(add) => add.run().await,
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let now = Clock::system().wall();
        let wanted = Wanted {
            queue: self.queue,
            state: self.state,
            since: self.since.map(|since| now - since),
            named: None,
            limit: self.limit,
        };
        let requests = Peek::open(&config.store).await?.requests(&wanted).await?;
        let mut out = std::io::stdout().lock();
        let mut place = (String::new(), 0);
        if !self.json {
            writeln!(
                out,
                "{:<9} {:<10} {:>5} {:<11} {:<16} {:<16} promised",
                "tag", "queue", "place", "state", "number", "asked"
            )?;
        }
        for request in &requests {
            if place.0 != request.queue {
                place = (request.queue.clone(), 0);
            }
            place.1 += u32::from(request.is_in_line);
            let place = request.is_in_line.then_some(place.1);
            if self.json {
                writeln!(out, "{}", as_json(request, place))?;
            } else {
                writeln!(out, "{}", line(request, place, &config.site.zone))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn line(request: &Seen, place: Option<u32>, zone: &str) -> String {
    let promise = request.promise.as_ref().filter(|p| p.names_times());
    let promised = promise.map_or_else(String::new, |p| {
        format!("{} - {}", local(p.from, zone), local(p.to, zone))
    });
    let state = match request.held {
        Some(held) => format!("held: {held}"),
        None => request.state.to_owned(),
    };
    format!(
        "{:<9} {:<10} {:>5} {:<11} {:<16} {:<16} {}",
        request_tag(&request.id),
        request.queue,
        place.map_or_else(|| "-".into(), |place| place.to_string()),
        state,
        request.number,
        local(request.accepted_at, zone),
        promised
    )
}

/// A time by the site's clock.
fn local(at: Wall, zone: &str) -> String {
    let zone = helpline_core::calendar::zone_named(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default();
    zone.to_datetime(at).strftime("%Y-%m-%d %H:%M").to_string()
}

fn as_json(request: &Seen, place: Option<u32>) -> Value {
    json!({
        "id": request.id, "tag": request_tag(&request.id), "queue": request.queue,
        "place": place, "state": request.state, "held": request.held,
        "number": request.number, "name": request.name, "email": request.email,
        "accepted_at": request.accepted_at.rfc3339(),
        "not_before": request.not_before.rfc3339(),
        "due_at": request.due_at.map(Wall::rfc3339),
        "attempts": request.attempts, "promise": request.promise, "missed": request.missed,
        "mail_failed": request.mail_failed,
    })
}

impl One {
    async fn find(&self, config: &Config) -> anyhow::Result<(Peek, Seen)> {
        let store = Peek::open(&config.store).await?;
        let named = self.request.trim();
        let number = numbers::read(named, config.dial.region.as_deref());
        let wanted = Wanted {
            named: Some(number.map_or_else(|_| named.to_lowercase(), |n| n.as_str().to_owned())),
            limit: 100,
            ..Wanted::default()
        };
        let mut found = store.requests(&wanted).await?;
        if found.is_empty()
            && let Some(end) = id_end(named)
        {
            // A tag names the end of an id, and a little more.
            let wanted = Wanted {
                named: Some(end),
                limit: 1_000,
                ..Wanted::default()
            };
            found = store.requests(&wanted).await?;
            found.retain(|request| request_tag(&request.id).eq_ignore_ascii_case(named));
        }
        // Of one number the open request is meant.
        let is_over = |request: &Seen| !is_open(request.state);
        if found.len() > 1 && found.iter().any(|request| is_open(request.state)) {
            found.retain(|request| !is_over(request));
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(one), None) => Ok((store, one)),
            (Some(_), Some(_)) => bail!("{named:?} may be several requests; use the whole id"),
            (None, _) => bail!("there is no request {named:?}; see `helpline queue list`"),
        }
    }

    async fn show(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let (store, request) = self.find(&config).await?;
        let happened = store.history(&request.id).await?;
        let mut out = std::io::stdout().lock();
        if self.json {
            let mut json = as_json(&request, None);
            let happened = happened
                .iter()
                .map(|h: &Happened| json!({ "at": h.at.rfc3339(), "what": h.what, "how": h.how }));
            json["history"] = happened.collect();
            writeln!(out, "{json}")?;
            return Ok(ExitCode::SUCCESS);
        }
        let zone = &config.site.zone;
        writeln!(out, "{} {}", request_tag(&request.id), request.id)?;
        writeln!(out, "queue     {}", request.queue)?;
        let held = request
            .held
            .map_or_else(String::new, |why| format!(" ({why})"));
        writeln!(out, "state     {}{held}", request.state)?;
        let name = request.name.as_deref().unwrap_or_default();
        writeln!(out, "customer  {} {name}", request.number)?;
        if let Some(email) = &request.email {
            writeln!(out, "mail      {email}")?;
        }
        if let Some(status) = &request.mail_failed {
            let why = "mail does not reach this customer, the call still happens";
            writeln!(out, "          {why} ({status})")?;
        }
        if let Some(due) = request.due_at {
            writeln!(out, "booked    {}", local(due, zone))?;
        }
        if let Some(promise) = &request.promise {
            writeln!(
                out,
                "told      {}",
                promise.text(None, request.accepted_at, "en")
            )?;
        }
        writeln!(out, "{} asked", local(request.accepted_at, zone))?;
        for Happened { at, what, how } in &happened {
            writeln!(out, "{} {what} {how}", local(*at, zone))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn order(self, what: &str) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let (_, request) = self.find(&config).await?;
        let path = format!("/requests/{}/{what}", request.id);
        let (status, answer) = control::order(&config, Method::POST, &path, None).await?;
        let state = answer["state"].as_str().unwrap_or_default();
        match status {
            200 => println!("{} is {state}", request_tag(&request.id)),
            409 => bail!(
                "{} is {state}: {what} means nothing for it",
                request_tag(&request.id)
            ),
            404 => bail!("the daemon knows no request {}", request.id),
            other => bail!("the daemon answered {other}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn is_open(state: &str) -> bool {
    helpline_core::queue::State::from_word(state).is_some_and(|state| state.is_open())
}

impl Add {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.load()?;
        let mut body = json!({ "phone": self.phone });
        for (key, value) in [
            ("queue", self.queue),
            ("name", self.name),
            ("email", self.email),
            ("note", self.note),
            ("skill", self.skill),
            ("agent", self.agent),
        ] {
            if let Some(value) = value {
                body[key] = value.into();
            }
        }
        if let Some(at) = self.at {
            body["when"] = json!({ "not_before": at });
        }
        let mut address = config.http.listen;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let url = format!("http://{address}/api/requests");
        let headers = [("content-type", "application/json")];
        let answer = client::post(&url, &headers, body.to_string())
            .await
            .with_context(|| format!("{url}: no daemon answers"))?;
        let json: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
        if answer.status != 201 {
            for fault in json["errors"].as_array().into_iter().flatten() {
                let text = |key: &str| fault[key].as_str().unwrap_or_default().to_owned();
                eprintln!("{}: {}", text("field"), text("detail"));
            }
            bail!(
                "refused: {}",
                json["detail"].as_str().unwrap_or("see above")
            );
        }
        println!("{}", json["id"].as_str().unwrap_or_default());
        println!("{}", json["estimate"]["text"].as_str().unwrap_or_default());
        Ok(ExitCode::SUCCESS)
    }
}
