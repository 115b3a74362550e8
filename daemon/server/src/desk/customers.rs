//! The operator's own table of customers, a CSV file (RFC 4180): flows look callers up in
//! it, and so know more of them than their requests say.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use helpline_core::phone::PhoneNumber;
use serde_json::{Map, Value};

use crate::config::Config;

/// Largest file in bytes.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most customers.
const CUSTOMERS_MAX: usize = 500_000;
/// Most columns.
const COLUMNS_MAX: usize = 64;
/// Longest name of a column.
const NAME_MAX: usize = 40;
/// Longest value in bytes.
const VALUE_MAX: usize = 1_024;
/// Faults told of one file.
const FAULTS_MAX: usize = 20;
/// What a lookup tells of the latest request; a column of such a name would hide it.
const OF_REQUESTS: [&str; 7] = [
    "request", "queue", "state", "page", "asked_at", "attempts", "requests",
];

/// All customers of the table.
#[derive(Debug, Default)]
pub struct Customers {
    records: Vec<Map<String, Value>>,
    by_number: HashMap<String, usize>,
    by_email: HashMap<String, usize>,
}

impl Customers {
    /// Reads the table that is configured; without one nobody is in it.
    ///
    /// # Errors
    /// Its first faults, each with file and line.
    pub fn load(config: &Config) -> Result<Customers, Vec<String>> {
        let Some(path) = &config.ivr.customers else {
            return Ok(Customers::default());
        };
        let open = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok::<_, std::io::Error>((file, length))
        };
        let (file, length) =
            open().map_err(|e| vec![format!("ivr.customers: {}: {e}", path.display())])?;
        if length > BYTES_MAX {
            let most = BYTES_MAX / 1024 / 1024;
            let fault = format!("ivr.customers: {}: longer than {most} MiB", path.display());
            return Err(vec![fault]);
        }
        Customers::read(file, path, config.dial.region.as_deref())
    }

    fn read(from: impl Read, path: &Path, region: Option<&str>) -> Result<Customers, Vec<String>> {
        let mut text = String::new();
        if let Err(error) = from.take(BYTES_MAX).read_to_string(&mut text) {
            return Err(vec![format!("{}: {error}", path.display())]);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let first = text.lines().next().unwrap_or_default();
        // What spreadsheets of half of Europe write.
        let by_semicolon = first.contains(';') && !first.contains(',');
        let mut rows = ReaderBuilder::new()
            .delimiter(if by_semicolon { b';' } else { b',' })
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut table = Table {
            path,
            region,
            customers: Customers::default(),
            lines: Vec::new(),
            faults: Vec::new(),
        };
        let columns = rows.headers().cloned();
        let columns = columns.map_err(|e| vec![format!("{}: {e}", path.display())])?;
        table.columns(&columns);
        for row in rows.records() {
            if table.faults.len() >= FAULTS_MAX {
                break;
            }
            match row {
                Ok(row) => table.row(&columns, &row),
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    let what = match error.kind() {
                        ErrorKind::UnequalLengths { len, .. } => {
                            format!("{len} columns where the first line has {}", columns.len())
                        }
                        _ => error.to_string(),
                    };
                    table.fault(line, what);
                }
            }
        }
        if table.faults.is_empty() {
            Ok(table.customers)
        } else {
            Err(table.faults)
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The customer with this number (E.164), else with this address.
    #[must_use]
    pub fn find(&self, number: Option<&str>, email: Option<&str>) -> Option<&Map<String, Value>> {
        let by_number = number.and_then(|number| self.by_number.get(number));
        let by_email = || self.by_email.get(&email?.to_lowercase());
        self.records.get(*by_number.or_else(by_email)?)
    }
}

/// A table being read.
struct Table<'a> {
    path: &'a Path,
    region: Option<&'a str>,
    customers: Customers,
    /// The line of each customer.
    lines: Vec<u64>,
    faults: Vec<String>,
}

impl Table<'_> {
    fn fault(&mut self, line: u64, what: impl Display) {
        self.faults
            .push(format!("{}:{line}: {what}", self.path.display()));
    }

    fn columns(&mut self, columns: &StringRecord) {
        if columns.len() > COLUMNS_MAX {
            self.fault(1, format!("more than {COLUMNS_MAX} columns"));
        }
        for (place, name) in columns.iter().enumerate() {
            let is_name = name.len() <= NAME_MAX
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if !is_name {
                let rule = "small letters, digits and _, at most 40, a letter first";
                self.fault(1, format!("column {name:?}: a name is {rule}"));
            } else if OF_REQUESTS.contains(&name) {
                self.fault(
                    1,
                    format!("column \"{name}\" is told of requests; rename it"),
                );
            } else if columns.iter().take(place).any(|other| other == name) {
                self.fault(1, format!("column \"{name}\" is there twice"));
            }
        }
        if !columns.iter().any(|c| c == "number" || c == "email") {
            self.fault(
                1,
                "a column \"number\" or \"email\" is needed to find anybody",
            );
        }
    }

    fn row(&mut self, columns: &StringRecord, row: &StringRecord) {
        let line = row.position().map_or(0, csv::Position::line);
        let place = self.customers.records.len();
        if place >= CUSTOMERS_MAX {
            return self.fault(line, format!("more than {CUSTOMERS_MAX} customers"));
        }
        let mut record = Map::new();
        for (name, value) in columns.iter().zip(row).filter(|(_, v)| !v.is_empty()) {
            if value.len() > VALUE_MAX {
                return self.fault(line, format!("{name}: longer than {VALUE_MAX} bytes"));
            }
            if value.contains(char::is_control) {
                // A quote that is not closed swallows the customers after it.
                let fault =
                    format!("{name}: a line break or control character; is a quote missing?");
                return self.fault(line, fault);
            }
            let value = match self.value(name, value, place) {
                Ok(value) => value,
                Err(why) => return self.fault(line, format!("{name}: {why}")),
            };
            record.insert(name.to_owned(), Value::String(value));
        }
        if !record.contains_key("number") && !record.contains_key("email") {
            return self.fault(
                line,
                "neither a number nor an address: nobody would be found",
            );
        }
        self.customers.records.push(record);
        self.lines.push(line);
    }

    /// A value as it is kept; numbers and addresses lead to their customer.
    fn value(&mut self, name: &str, value: &str, place: usize) -> Result<String, String> {
        let (index, key) = match name {
            "number" => {
                let number = PhoneNumber::parse(value, self.region);
                let number = number.map_err(|e| format!("{value:?}: {e}"))?;
                (&mut self.customers.by_number, number.as_str().to_owned())
            }
            "email" => (&mut self.customers.by_email, value.to_lowercase()),
            _ => return Ok(value.to_owned()),
        };
        match index.insert(key.clone(), place) {
            Some(other) if other != place => {
                let line = self.lines.get(other).copied().unwrap_or_default();
                Err(format!("{value:?} is in line {line} as well"))
            }
            _ => Ok(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Customers, Vec<String>> {
        Customers::read(text.as_bytes(), Path::new("c.csv"), Some("DE"))
    }

    fn faults(text: &str) -> String {
        read(text).map(|c| c.len()).unwrap_err().join("\n")
    }

    #[test]
    fn customers_are_found_by_number_and_address_however_they_are_written() {
        for text in [
            "number,email,name,tier\n030 1234567,Ada@Cust.test,Ada,gold\n,bo@cust.test,\"Bo, son\",\n",
            "\u{feff}number;email;name;tier\r\n+49 30 1234567;Ada@Cust.test;Ada;gold\r\n;bo@cust.test;Bo, son;\r\n",
        ] {
            let customers = read(text).unwrap();
            assert_eq!(customers.len(), 2);
            let ada = customers.find(Some("+49301234567"), None).unwrap();
            assert_eq!(
                (&ada["name"], &ada["tier"]),
                (&"Ada".into(), &"gold".into())
            );
            assert_eq!(ada["number"], "+49301234567");
            assert_eq!(customers.find(None, Some("ada@cust.TEST")), Some(ada));
            let bo = customers.find(Some("+491"), Some("bo@cust.test")).unwrap();
            assert_eq!(bo["name"], "Bo, son");
            assert!(!bo.contains_key("tier"), "an empty cell is absent");
            assert_eq!(customers.find(Some("+492"), None), None);
        }
    }

    #[test]
    fn a_faulty_table_is_refused_with_line_and_reason() {
        let many = format!("number{}\n", ",a".repeat(70));
        for (text, says) in [
            ("", "c.csv:1: a column \"number\" or \"email\""),
            ("name\nAda\n", "c.csv:1: a column \"number\" or \"email\""),
            ("number,Name\n", "c.csv:1: column \"Name\""),
            ("number,state\n", "\"state\" is told of requests"),
            ("number,a,a\n", "\"a\" is there twice"),
            (many.as_str(), "more than 64 columns"),
            ("number\n12ab\n", "c.csv:2: number: \"12ab\""),
            (
                "number\n030 1234567\n\n+49301234567\n",
                "is in line 2 as well",
            ),
            (
                "number,name\n,Ada\n",
                "c.csv:2: neither a number nor an address",
            ),
            (
                "number,name\n0301234567\n",
                "c.csv:2: 1 columns where the first line has 2",
            ),
            (
                "number,name\n0301234567,\"Ada\n0301234568,Bo\n",
                "c.csv:2: name: a line break",
            ),
        ] {
            let told = faults(text);
            assert!(told.contains(says), "{text:?}: {told}");
        }
        let long = format!("email,note\na@b.test,{}\n", "x".repeat(2_000));
        assert!(faults(&long).contains("c.csv:2: note: longer than 1024 bytes"));
        let bad = format!("number\n{}", "x\n".repeat(100));
        assert_eq!(read(&bad).map(|c| c.len()).unwrap_err().len(), FAULTS_MAX);
        let binary = Customers::read(&[0xff, 0xfe, 0][..], Path::new("c.csv"), None);
        assert!(binary.is_err(), "not UTF-8");
    }
}
