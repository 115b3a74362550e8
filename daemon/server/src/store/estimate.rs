//! What the estimate of a wait reads: the line as it stands, and what past calls teach.

use helpline_core::queue::ewt::Forecast;
use helpline_core::time::Wall;

use super::conn::{Row, args};
use super::{AgentRow, Conn, Error, agent, request};

/// Places of a line that are looked at; further ones are as much longer as they are further.
const STANDING_MAX: u32 = 2_000;
const STANDING_MAX_LEN: usize = STANDING_MAX as usize;
/// Calls a daemon that starts learns from.
const PAST_CALLS: i64 = 3_000;

/// Somebody in a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stands {
    /// Calls made so far.
    pub(crate) attempts: u32,
    /// When the place is taken, if that is later.
    pub(crate) joins: Option<Wall>,
    /// What whoever takes the call has to know; nothing: anybody.
    pub(crate) skill: String,
}

/// A line at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LineNow {
    pub(crate) now: Wall,
    /// When each call in progress began.
    pub(crate) calls: Vec<Wall>,
    /// Everybody in the order of the line, those too who come back into it.
    pub(crate) standing: Vec<Stands>,
    /// How many stand in it now, also where more do than are looked at.
    pub(crate) present: u32,
    /// Requests that stand in it or wait for a time.
    pub(crate) requests: u32,
    /// Channels of all trunks that are in use.
    pub(crate) channels: u32,
    /// Who takes its calls, where people do.
    pub(crate) agents: Vec<AgentRow>,
}

/// Calls in progress of a queue: how many, and when the last began. While this stays, an
/// estimate does.
pub(crate) async fn calls(tx: &mut Conn, queue: &str) -> Result<Vec<Wall>, Error> {
    tx.rows(
        "select intent_at from attempt where live = 1 and queue = $1
         union all
         select served_at from inbound where live = 1 and queue = $1 and stands = 'served'
         order by 1",
        args![queue],
    )
    .await?
    .iter()
    .map(|row| row.wall(0))
    .collect()
}

/// A line as it stands.
pub(crate) async fn line(tx: &mut Conn, queue: &str) -> Result<LineNow, Error> {
    let now = tx.now().await?;
    let requests = tx
        .rows(
            "select case when due_at is null then 1 else 0 end, coalesce(due_at, place_at), id,
               tries, case when state in ('scheduled', 'backoff')
                 or (state = 'waiting' and not_before > {now}) then not_before end, skill
             from request where queue = $1 and open = 1
               and (state in ('waiting', 'leased', 'scheduled', 'backoff')
                 or (state = 'held' and held_reason = 'closed'))
             order by rank, place_at, id limit $2",
            args![queue, STANDING_MAX],
        )
        .await?;
    let callers = tx
        .rows(
            "select 1, place_at, call_id, 0, cast(null as bigint), '' from inbound
             where queue = $1 and live = 1 and stands = 'waiting'
             order by place_at, call_id limit $2",
            args![queue, STANDING_MAX],
        )
        .await?;
    let place = |row: &Row| {
        let key = (row.int(0)?, row.wall(1)?, row.text(2)?);
        let stands = Stands {
            attempts: row.count(3)?,
            joins: row.opt_wall(4)?,
            skill: row.text(5)?,
        };
        Ok((key, stands))
    };
    let places = requests.iter().chain(&callers).map(place);
    let mut places = places.collect::<Result<Vec<_>, Error>>()?;
    places.sort_by(|(a, _), (b, _)| a.cmp(b));
    let channels = tx
        .int(
            "select cast(coalesce(sum(max_channels), 0) as bigint) from trunk where enabled = 1",
            vec![],
        )
        .await?;
    let present = match places.len() {
        0..STANDING_MAX_LEN => {
            let present = places.iter().filter(|(_, who)| who.joins.is_none());
            u32::try_from(present.count()).unwrap_or(u32::MAX)
        }
        _ => request::in_line(tx, queue).await?,
    };
    Ok(LineNow {
        now,
        present,
        requests: request::standing(tx, queue).await?,
        calls: calls(tx, queue).await?,
        standing: places.into_iter().map(|(_, place)| place).collect(),
        channels: u32::try_from(channels).unwrap_or(u32::MAX),
        agents: agent::of_queue(tx, queue).await?,
    })
}

/// After one moment, up to and with another.
#[derive(Clone, Copy, Debug)]
struct Span<'a> {
    queue: &'a str,
    after: Wall,
    until: Wall,
}

impl Span<'_> {
    /// What rows of a query with these three values teach, and when each happened.
    async fn lessons(
        &self,
        tx: &mut Conn,
        sql: &'static str,
        lesson: impl Fn(&Row) -> Result<(Wall, Lesson), Error>,
    ) -> Result<Vec<(Wall, Lesson)>, Error> {
        let rows = tx
            .rows(sql, args![self.queue, self.after, self.until])
            .await?;
        rows.iter().map(lesson).collect()
    }
}

/// Something that happened, for the estimate to learn from. Times are seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Lesson {
    /// A call was answered, and lasted so long, from its first ring to its end; by whom it was
    /// taken, where people do.
    Handled(f64, Option<String>),
    /// The so-manieth call of a request was not answered: how long it rang, and how much
    /// later the next one is made.
    Unanswered(u32, f64, Option<f64>),
    /// A first call was made after so long a wait, of which this was expected.
    Waited(f64, Option<Forecast>),
    /// A request was withdrawn before its first call.
    Withdrawn(f64),
}

/// From when a daemon that starts learns.
pub(crate) async fn past(tx: &mut Conn, queue: &str) -> Result<Wall, Error> {
    let row = tx
        .row(
            "select end_at from attempt where queue = $1 and live = 0
             order by end_at desc limit 1 offset $2",
            args![queue, PAST_CALLS],
        )
        .await?;
    row.map_or(Ok(Wall::default()), |row| row.wall(0))
}

/// What happened after one moment, up to and with another, in order.
pub(crate) async fn lessons(
    tx: &mut Conn,
    queue: &str,
    after: Wall,
    until: Wall,
) -> Result<Vec<Lesson>, Error> {
    let span = Span {
        queue,
        after,
        until,
    };
    let mut lessons = span.lessons(tx, ENDED, ended).await?;
    lessons.extend(span.lessons(tx, FIRST_CALLS, first_call).await?);
    let withdrawn = |row: &Row| length(row, Lesson::Withdrawn);
    lessons.extend(span.lessons(tx, WITHDRAWN, withdrawn).await?);
    let served = |row: &Row| length(row, |took| Lesson::Handled(took, None));
    lessons.extend(span.lessons(tx, SERVED, served).await?);
    lessons.sort_by_key(|(at, _)| *at);
    Ok(lessons.into_iter().map(|(_, lesson)| lesson).collect())
}

const ENDED: &str = "select a.intent_at, a.end_at, a.answer_at, a.attempt_no,
    case when r.state = 'backoff' and r.tries = a.attempt_no then r.not_before end, a.agent
  from attempt a join request r on r.id = a.request_id
  where a.queue = $1 and a.live = 0 and a.end_at > $2 and a.end_at <= $3
    and (a.answer_at is not null or a.ring_at is not null)";
const FIRST_CALLS: &str = "select r.accepted_at, a.intent_at, r.estimate_json
  from attempt a join request r on r.id = a.request_id
  where a.queue = $1 and a.attempt_no = 1 and r.due_at is null
    and a.intent_at > $2 and a.intent_at <= $3";
const WITHDRAWN: &str = "select accepted_at, ended_at from request
  where queue = $1 and state = 'cancelled' and tries = 0 and due_at is null
    and ended_at > $2 and ended_at <= $3";
const SERVED: &str = "select served_at, ended_at from inbound
  where queue = $1 and served_at is not null and ended_at > $2 and ended_at <= $3";

/// A row's first two columns as a length of time, and its end.
fn length(row: &Row, lesson: impl FnOnce(f64) -> Lesson) -> Result<(Wall, Lesson), Error> {
    let (from, to) = (row.wall(0)?, row.wall(1)?);
    Ok((to, lesson(to.since(from).as_secs_f64())))
}

fn ended(row: &Row) -> Result<(Wall, Lesson), Error> {
    if row.opt_wall(2)?.is_some() {
        let agent = row.opt_text(5)?;
        return length(row, |took| Lesson::Handled(took, agent));
    }
    let (attempt, end) = (row.count(3)?, row.wall(1)?);
    let took = end.since(row.wall(0)?).as_secs_f64();
    let again = row.opt_wall(4)?.map(|at| at.since(end).as_secs_f64());
    Ok((end, Lesson::Unanswered(attempt, took, again)))
}

fn first_call(row: &Row) -> Result<(Wall, Lesson), Error> {
    let called = row.wall(1)?;
    let wait = called.since(row.wall(0)?).as_secs_f64();
    let told = row.opt_text(2)?;
    let told = told.and_then(|json| serde_json::from_str(&json).ok());
    Ok((called, Lesson::Waited(wait, told)))
}
