//! Work of one kind that is written together: what would be a transaction each is one.

use std::sync::Arc;

use super::{Conn, Error, Lane, Store, Turn};

impl Store {
    /// Runs `op` for all of `lot` in one transaction, and, should one of them spoil that, for each
    /// in one of its own. The answers are in the order of the lot. As with [`Store::write`], `op`
    /// may run again.
    pub(crate) async fn write_lot<I, T, F>(
        &self,
        lane: Lane,
        lot: Vec<I>,
        op: F,
    ) -> Vec<Result<T, Error>>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn, &'c [I]) -> Turn<'c, Vec<T>> + Copy + Send + Sync + 'static,
    {
        let lot: Arc<[I]> = lot.into();
        if lot.is_empty() {
            return Vec::new();
        }
        match self.write_some(lane, &lot, 0, lot.len(), op).await {
            Ok(answers) => return answers.into_iter().map(Ok).collect(),
            // Nothing can be written now; a conflict may be that of one of them alone.
            Err(error) if lot.len() == 1 || matches!(error, Error::Unavailable(_)) => {
                return lot.iter().map(|_| Err(error.clone())).collect();
            }
            Err(error) => tracing::info!(%error, count = lot.len(), "written one by one"),
        }
        let mut answers = Vec::with_capacity(lot.len());
        for at in 0..lot.len() {
            let alone = self.write_some(lane, &lot, at, at + 1, op).await;
            let missing = || Error::Damaged("no answer for one of a lot".into());
            answers.push(alone.and_then(|mut answer| answer.pop().ok_or_else(missing)));
        }
        answers
    }

    async fn write_some<I, T, F>(
        &self,
        lane: Lane,
        lot: &Arc<[I]>,
        from: usize,
        until: usize,
        op: F,
    ) -> Result<Vec<T>, Error>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn, &'c [I]) -> Turn<'c, Vec<T>> + Copy + Send + Sync + 'static,
    {
        let lot = Arc::clone(lot);
        self.write_in(lane, move |tx| {
            let lot = Arc::clone(&lot);
            Box::pin(async move { op(tx, lot.get(from..until).unwrap_or_default()).await })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::benches;
    use super::*;

    /// Counts each once; some spoil what they are written with.
    async fn count(tx: &mut Conn, lot: &[&'static str]) -> Result<Vec<u64>, Error> {
        let mut counted = Vec::new();
        for name in lot {
            match *name {
                "conflict" => return Err(Error::Conflict),
                "fenced" => return Err(Error::Fenced),
                "gone" => return Err(Error::Unavailable("gone".into())),
                name => {
                    let sql = "insert into intake_key (scope, key, body_hash, created_at)
                        values ('lot', $1, $1, {now})";
                    counted.push(tx.run(sql, super::super::conn::args![name]).await?);
                }
            }
        }
        Ok(counted)
    }

    #[tokio::test]
    async fn one_that_spoils_a_lot_spoils_itself_alone() {
        for bench in &benches().await {
            let write = async |lot: &[&'static str]| {
                let lot = lot.to_vec();
                let store = &bench.store;
                store
                    .write_lot(Lane::Behind, lot, |tx, lot| Box::pin(count(tx, lot)))
                    .await
            };
            assert_eq!(write(&[]).await, []);
            assert_eq!(write(&["a", "b"]).await, [Ok(1), Ok(1)], "{}", bench.name);
            let written = write(&["c", "conflict"]).await;
            assert_eq!(written, [Ok(1), Err(Error::Conflict)], "{}", bench.name);
            let written = write(&["fenced", "f"]).await;
            assert_eq!(written, [Err(Error::Fenced), Ok(1)], "{}", bench.name);
            let gone = || Err(Error::Unavailable("gone".into()));
            assert_eq!(write(&["d", "gone"]).await, [gone(), gone()]);
            assert_eq!(write(&["d"]).await, [Ok(1)], "nothing was left of it");
        }
    }
}
