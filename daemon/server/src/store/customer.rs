//! What is known of a customer: what his latest request says.

use helpline_core::ivr::io::LookupBy;
use helpline_core::phone::PhoneNumber;
use serde_json::{Map, Value, json};

use super::conn::args;
use super::{Conn, Error};

/// The record of whoever a value belongs to; `None` if nobody is known by it. Its fields
/// are told in docs/IVR.md, "lookup".
pub(crate) async fn find(
    tx: &mut Conn,
    by: LookupBy,
    value: &str,
) -> Result<Option<Map<String, Value>>, Error> {
    macro_rules! latest {
        ($column:literal) => {
            concat!(
                "select id, queue, state, number, name, email, page, language, zone,
                   accepted_at, attempts,
                   (select count(*) from request o where o.number = request.number)
                 from request where ",
                $column,
                " = $1 order by created_at desc, id desc limit 1"
            )
        };
    }
    let sql = match by {
        LookupBy::Phone => latest!("number"),
        LookupBy::Email => latest!("email"),
        LookupBy::Request => latest!("id"),
        LookupBy::Address => latest!("consent_address"),
    };
    let Some(row) = tx.row(sql, args![value]).await? else {
        return Ok(None);
    };
    let number = PhoneNumber::from_row(&row.text(3)?);
    let record = json!({
        "request": row.text(0)?,
        "queue": row.text(1)?,
        "state": row.text(2)?,
        "number": number.as_str(),
        "name": row.opt_text(4)?,
        "email": row.opt_text(5)?,
        "page": row.opt_text(6)?,
        "lang": row.text(7)?,
        "zone": row.opt_text(8)?,
        "asked_at": row.wall(9)?.rfc3339(),
        "attempts": row.int(10)?,
        "requests": row.int(11)?,
    });
    Ok(record.as_object().cloned())
}
