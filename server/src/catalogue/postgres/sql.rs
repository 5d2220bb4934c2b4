//! The catalogue's questions as SQL, on one connection, which need not lead to one session: behind
//! a pooler each transaction may have another. So no statement is prepared under a name, and what
//! is set or locked ends with its transaction.

use crate::catalogue::rows::{self, number};
use crate::catalogue::{Cost, Names, Page, Product, Upserted, User, Wanted, id};
use deadpool_postgres::Client;
use futures_util::future::join3;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use tally_plugin::read::Id;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Error, Row};

/// Held while rows are written: imports wait for each other, so that counts are exact. The letters
/// "import".
const WRITING: i64 = 0x69_6d_70_6f_72_74;

/// How long a statement of an import may take, waiting for another import included.
const WRITE: &str = "SET LOCAL statement_timeout = 30000";

/// How long a question may take; then the server ends it, so that nothing runs on for nobody.
const READ: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = 1000";

/// Why a question has no answer.
pub(super) enum Fault {
    /// The driver or the server says so.
    Database(Error),
    /// A row that this program did not write.
    Row(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Database(error)
    }
}

/// A row, as PostgreSQL reads and writes it.
pub(super) trait Stored: rows::Stored {
    /// The last column.
    type More: ToSql + for<'a> FromSql<'a> + PartialEq + Clone + Send + Sync;
    /// Its type.
    const MORE_TYPE: &'static str;
    /// An array of it.
    const MORE_ARRAY: Type;
    fn more(&self) -> Self::More;
    fn of(id: Id, name: String, more: Self::More) -> Result<Self, Fault>;
}

impl Stored for User {
    type More = Option<String>;
    const MORE_TYPE: &'static str = "text";
    const MORE_ARRAY: Type = Type::TEXT_ARRAY;

    fn more(&self) -> Option<String> {
        self.email.clone()
    }

    fn of(user_id: Id, user_name: String, email: Option<String>) -> Result<User, Fault> {
        Ok(User { user_id, user_name, email })
    }
}

impl Stored for Product {
    type More = i64;
    const MORE_TYPE: &'static str = "bigint";
    const MORE_ARRAY: Type = Type::INT8_ARRAY;

    fn more(&self) -> i64 {
        self.cost.cents()
    }

    fn of(product_id: Id, product_name: String, cents: i64) -> Result<Product, Fault> {
        let cost = Cost::from_cents(cents)
            .ok_or_else(|| Fault::Row(format!("invalid cost of {cents} cents")))?;
        Ok(Product { product_id, product_name, cost })
    }
}

pub(super) async fn list<T: Stored>(client: &Client, page: Page) -> Result<Vec<T>, Fault> {
    let (table, columns) = (T::TABLE, columns::<T>());
    // The collation is that of the index, so each page is one seek.
    let order = format!("id_number, {} COLLATE \"BINARY\"", T::ID);
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let rows = match page.after {
        None => {
            let sql = format!("SELECT {columns} FROM {table} ORDER BY {order} LIMIT $1");
            ask(client, &sql, &[(&limit, Type::INT8)]).await?
        }
        Some(after) => {
            let sql = format!(
                "SELECT {columns} FROM {table} WHERE ({order}) > ($2, $3) ORDER BY {order} LIMIT $1"
            );
            let (number, id) = (number(&after), id::text(&after));
            ask(client, &sql, &[(&limit, Type::INT8), (&number, Type::INT8), (&id, Type::TEXT)])
                .await?
        }
    };
    rows.iter().map(stored).collect()
}

pub(super) async fn find<T: Stored>(client: &Client, wanted: Id) -> Result<Option<T>, Fault> {
    let sql = format!("SELECT {} FROM {} WHERE {} = $1", columns::<T>(), T::TABLE, T::ID);
    let found = ask(client, &sql, &[(&id::text(&wanted), Type::TEXT)]).await?;
    found.first().map(stored).transpose()
}

/// One question in a transaction of its own. All of it is sent at once, in this order.
async fn ask(
    client: &Client,
    sql: &str,
    params: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, Error> {
    let (begun, rows, ended) = join3(
        client.batch_execute(READ),
        client.query_typed(sql, params),
        client.batch_execute("COMMIT"),
    )
    .await;
    begun?;
    let rows = rows?;
    ended.map(|()| rows)
}

/// Both questions are sent before either is answered.
pub(super) async fn names(client: &Client, wanted: Wanted) -> Result<Names, Fault> {
    let (users, products) = tokio::try_join!(
        named::<User>(client, wanted.users),
        named::<Product>(client, wanted.products)
    )?;
    Ok(Names { users, products })
}

async fn named<T: Stored>(client: &Client, wanted: Vec<Id>) -> Result<HashMap<Id, String>, Fault> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let (id, name, table) = (T::ID, T::NAME, T::TABLE);
    let texts: Vec<String> = wanted.iter().map(id::text).collect();
    let sql = format!("SELECT {id}, {name} FROM {table} WHERE {id} = ANY($1)");
    let rows = ask(client, &sql, &[(&texts, Type::TEXT_ARRAY)]).await?;
    rows.iter().map(|row| Ok((stored_id(row)?, row.try_get(1)?))).collect()
}

/// One transaction; in it, one question for what is there and one statement for what is other.
pub(super) async fn upsert<T: Stored>(
    client: &mut Client,
    rows: Vec<T>,
) -> Result<Upserted, Fault> {
    let mut done = Upserted::default();
    if rows.is_empty() {
        return Ok(done);
    }
    let (table, id, name, more, kind) = (T::TABLE, T::ID, T::NAME, T::MORE, T::MORE_TYPE);
    let transaction = client.transaction().await?;
    transaction.batch_execute(WRITE).await?;
    transaction.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&WRITING, Type::INT8)]).await?;

    let texts: Vec<String> = rows.iter().map(|row| id::text(row.id())).collect();
    let sql = format!("SELECT {id}, {name}, {more} FROM {table} WHERE {id} = ANY($1)");
    let mut there: HashMap<String, (String, T::More)> = HashMap::with_capacity(rows.len());
    for row in transaction.query_typed(&sql, &[(&texts, Type::TEXT_ARRAY)]).await? {
        there.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    // Row by row, as if each were written: a later one of the same id wins, and is counted for
    // itself.
    let mut changed = BTreeMap::new();
    for (row, text) in rows.iter().zip(texts) {
        let content = (row.name().to_owned(), row.more());
        match there.entry(text) {
            Entry::Occupied(before) if *before.get() == content => {
                done.unchanged += 1;
                continue;
            }
            Entry::Occupied(mut before) => {
                done.updated += 1;
                changed.insert(before.key().clone(), (number(row.id()), content.clone()));
                before.insert(content);
            }
            Entry::Vacant(free) => {
                done.inserted += 1;
                changed.insert(free.key().clone(), (number(row.id()), content.clone()));
                free.insert(content);
            }
        }
    }
    let (mut ids, mut numbers, mut names, mut mores) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (text, (number, (name, more))) in changed {
        ids.push(text);
        numbers.push(number);
        names.push(name);
        mores.push(more);
    }
    if !ids.is_empty() {
        let sql = format!(
            "INSERT INTO {table} ({id}, id_number, {name}, {more})
             SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::{kind}[])
             ON CONFLICT ({id}) DO UPDATE
             SET id_number = excluded.id_number, {name} = excluded.{name}, {more} = excluded.{more}"
        );
        let (texts, numbers_of) = (Type::TEXT_ARRAY, Type::INT8_ARRAY);
        let columns: [(&(dyn ToSql + Sync), Type); 4] = [
            (&ids, texts.clone()),
            (&numbers, numbers_of),
            (&names, texts),
            (&mores, T::MORE_ARRAY),
        ];
        transaction.execute_typed(&sql, &columns).await?;
    }
    transaction.commit().await?;
    Ok(done)
}

fn columns<T: Stored>() -> String {
    format!("{}, {}, {}", T::ID, T::NAME, T::MORE)
}

fn stored<T: Stored>(row: &Row) -> Result<T, Fault> {
    T::of(stored_id(row)?, row.try_get(1)?, row.try_get(2)?)
}

fn stored_id(row: &Row) -> Result<Id, Fault> {
    let text: String = row.try_get(0)?;
    id::parse(&text).map_err(|fault| Fault::Row(format!("invalid id: {fault}")))
}
