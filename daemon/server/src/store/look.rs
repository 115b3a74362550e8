//! What tests of other modules write and read in a store directly.

use super::Store;
use super::conn::Val;

/// Runs one statement; `values` are bound as text.
pub(crate) async fn run(store: &Store, sql: &'static str, values: &[&str]) {
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
    let done = store.write(move |tx| {
        let values = values.iter().map(|v| Val::Text(Some(v.clone()))).collect();
        Box::pin(async move { tx.run(sql, values).await })
    });
    done.await.unwrap();
}

/// Every row of a query whose columns are text.
pub(crate) async fn rows<const N: usize>(store: &Store, sql: &'static str) -> Vec<[String; N]> {
    let found = store.read(move |tx| {
        Box::pin(async move {
            let mut all = Vec::new();
            for row in &tx.rows(sql, vec![]).await? {
                let mut texts = [const { String::new() }; N];
                for (column, text) in texts.iter_mut().enumerate() {
                    *text = row.text(column)?;
                }
                all.push(texts);
            }
            Ok(all)
        })
    });
    found.await.unwrap()
}

/// The one column of bytes of every row of a query.
pub(crate) async fn bytes(store: &Store, sql: &'static str) -> Vec<Option<Vec<u8>>> {
    let found = store.read(move |tx| {
        Box::pin(async move {
            let rows = tx.rows(sql, vec![]).await?;
            rows.iter().map(|row| row.opt_bytes(0)).collect()
        })
    });
    found.await.unwrap()
}
