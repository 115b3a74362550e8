//! Statements that write many rows at once. A text for so many rows is a statement of its own
//! to the database, so rows go in chunks of few sizes.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use super::Conn;
use super::texts::Texts;

/// Rows of one statement, at most; sizes are powers of two.
const CHUNK_MAX: usize = 64;

/// A statement with a part that is repeated for each row.
pub(super) struct Many {
    /// Before the rows. `{0}`, `{1}` here and behind the rows are whole numbers of the statement.
    pub(super) head: &'static str,
    /// One row; each `?` is one of its values, in order.
    pub(super) each: &'static str,
    /// Between two rows.
    pub(super) between: &'static str,
    /// Behind the rows.
    pub(super) tail: &'static str,
}

/// Parts `items` into chunks whose sizes are powers of two.
pub(super) fn chunks<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = match rest.len() {
            0 => return None,
            CHUNK_MAX.. => CHUNK_MAX,
            n => 1 << n.ilog2(),
        };
        let (chunk, after) = rest.split_at_checked(size)?;
        rest = after;
        Some(chunk)
    })
}

impl Many {
    /// The text for so many rows, with these numbers.
    pub(super) fn text(&self, rows: usize, numbers: &[i64], tx: &Conn) -> Arc<str> {
        type Name = (usize, usize, bool, Vec<i64>);
        static TEXTS: LazyLock<Texts<Name>> = LazyLock::new(Texts::default);
        let numbered = tx.is_postgres();
        let name = (self.head.as_ptr().addr(), rows, numbered, numbers.to_vec());
        TEXTS.get(name, || self.write(rows, numbers, numbered))
    }

    /// To SQLite a `?` is numbered by its place.
    fn write(&self, rows: usize, numbers: &[i64], numbered: bool) -> String {
        let each = vec![self.each; rows].join(self.between);
        let mut text = format!("{} {each} {}", self.head, self.tail);
        for (at, number) in numbers.iter().enumerate() {
            text = text.replace(&format!("{{{at}}}"), &number.to_string());
        }
        text = text.replace("{now}", super::conn::NOW);
        if !numbered {
            return text;
        }
        let mut parts = text.split('?');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for (before, part) in parts.enumerate() {
            let _ = write!(out, "${}{part}", before + 1);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_and_chunks_have_few_sizes() {
        let many = Many {
            head: "insert into t select a + {0} from (",
            each: "select ? as a, ?",
            between: " union all ",
            tail: ") where b = {1}",
        };
        assert_eq!(
            many.write(2, &[7, -8], false),
            "insert into t select a + 7 from ( select ? as a, ? union all select ? as a, ? ) where b = -8"
        );
        assert_eq!(
            many.write(2, &[7, -8], true),
            "insert into t select a + 7 from ( select $1 as a, $2 union all select $3 as a, $4 ) where b = -8"
        );
        let sizes = |n: usize| chunks(&vec![0; n]).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(0), [] as [usize; 0]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(7), [4, 2, 1]);
        assert_eq!(sizes(130), [64, 64, 2]);
    }
}
