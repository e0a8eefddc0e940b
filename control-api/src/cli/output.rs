//! How commands print: tables for people, JSON for machines.

use clap::Args;
use serde_json::Value;

/// How to print.
#[derive(Args, Clone, Copy)]
pub struct Output {
    /// Print JSON as the daemon answered it.
    #[arg(long, global = true)]
    json: bool,
}

impl Output {
    /// Prints the objects of an array as a table with these members as columns; `a.b` is the member `b` of `a`, also
    /// where `a` is JSON text, as in audit entries.
    pub fn list(self, answer: &Value, member: &str, columns: &[&str]) {
        if self.json {
            return println!("{answer}");
        }
        let objects = answer[member].as_array().map(Vec::as_slice).unwrap_or_default();
        for line in table(objects, columns) {
            println!("{line}");
        }
        if let Some(next) = answer["next"].as_str() {
            println!("more: --after {next}");
        }
    }

    /// Prints an object, a line for each member.
    pub fn object(self, answer: &Value) {
        if self.json {
            return println!("{answer}");
        }
        for (name, value) in answer.as_object().into_iter().flatten() {
            println!("{name}: {}", cell(value));
        }
    }

    /// Prints a line for people; JSON says it otherwise.
    pub fn line(self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    /// Prints what was done.
    pub fn done(self, what: &str) {
        if self.json {
            return println!("{}", serde_json::json!({ "done": what }));
        }
        println!("{what}");
    }
}

fn table(objects: &[Value], columns: &[&str]) -> Vec<String> {
    let heads = columns.iter().map(|column| head(column)).collect();
    let rows =
        objects.iter().map(|object| columns.iter().map(|column| cell(&member(object, column))).collect());
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn head(column: &str) -> String {
    column.rsplit('.').next().unwrap_or(column).to_uppercase()
}

fn member(object: &Value, path: &str) -> Value {
    path.split('.').fold(object.clone(), |object, name| match object {
        Value::String(text) => serde_json::from_str::<Value>(&text).unwrap_or_default()[name].take(),
        mut object => object[name].take(),
    })
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let pairs = members.iter().map(|(name, value)| format!("{name}={}", cell(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            serde_json::json!({"user": "al", "role": "user"}),
            serde_json::json!({"user": "barbara", "n": 1}),
        ];
        assert_eq!(table(&rows, &["user", "role"]), ["USER     ROLE", "al       user", "barbara  -"]);
    }

    #[test]
    fn members_of_members_have_columns() {
        let rows = [serde_json::json!({"entry": {"action": "made", "detail": {"key": "9A", "n": 1}}})];
        let as_text = [serde_json::json!({"entry": rows[0]["entry"].to_string()})];
        for rows in [rows, as_text] {
            let lines = table(&rows, &["entry.action", "entry.detail", "entry.user"]);
            assert_eq!(lines, ["ACTION  DETAIL      USER", "made    key=9A n=1  -"]);
        }
    }
}
