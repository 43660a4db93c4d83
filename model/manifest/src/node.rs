//! The tree of values with the place of each.

use indexmap::IndexMap;
use serde_json::{Map, Number, Value, json};
use std::rc::Rc;

/// Position in one of the files that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    /// Index into the loader's files.
    pub file: u16,
    pub line: u32,
    pub column: u32,
}

/// A value; aliases share it.
pub(crate) type Ref = Rc<Node>;

#[derive(Debug)]
pub(crate) struct Node {
    pub value: Val,
    /// Size after aliases are expanded: values, and text in pieces of 64 bytes.
    pub weight: u64,
}

#[derive(Debug)]
pub(crate) enum Val {
    Null,
    Bool(bool),
    Int(i64),
    /// As written: floats are passed on, never calculated with.
    Float(String),
    Text(String),
    List(Vec<Item>),
    Map(Vec<Entry>),
    Archive(Box<Archive>),
    /// Complained about already; everybody else keeps silent.
    Broken,
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub at: Mark,
    pub value: Ref,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub at: Mark,
    pub value: Ref,
}

/// The files of a directory, base64, by their path below it.
#[derive(Debug)]
pub(crate) struct Archive {
    pub directory: String,
    pub files: IndexMap<String, String>,
}

impl Node {
    pub fn new(value: Val) -> Ref {
        let children: u64 = match &value {
            Val::List(items) => items
                .iter()
                .fold(0, |sum: u64, item| sum.saturating_add(item.value.weight)),
            Val::Map(entries) => entries.iter().fold(0, |sum: u64, entry| {
                sum.saturating_add(entry.value.weight)
                    .saturating_add(entry.key.len() as u64 / 64)
            }),
            Val::Text(text) | Val::Float(text) => text.len() as u64 / 64,
            _ => 0,
        };
        Rc::new(Node {
            value,
            weight: children.saturating_add(1),
        })
    }

    pub fn broken() -> Ref {
        Node::new(Val::Broken)
    }

    pub fn null() -> Ref {
        Node::new(Val::Null)
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, Val::Null)
    }

    pub fn is_broken(&self) -> bool {
        matches!(self.value, Val::Broken)
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Val::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Item] {
        match &self.value {
            Val::List(items) => items,
            _ => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a key that is present and not null.
    pub fn get(&self, key: &str) -> Option<&Ref> {
        self.entry(key)
            .map(|entry| &entry.value)
            .filter(|value| !value.is_null())
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Val::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn flag(&self) -> Option<bool> {
        match self.value {
            Val::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    pub fn int(&self) -> Option<i64> {
        match self.value {
            Val::Int(number) => Some(number),
            _ => None,
        }
    }

    pub fn unsigned(&self) -> Option<u64> {
        self.int().and_then(|number| u64::try_from(number).ok())
    }

    /// Text of any scalar as an environment or header would show it.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Val::Text(text) | Val::Float(text) => Some(text.clone()),
            Val::Int(number) => Some(number.to_string()),
            Val::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// What it is, for a complaint.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Val::Null => "nothing",
            Val::Bool(_) => "true or false",
            Val::Int(_) | Val::Float(_) => "a number",
            Val::Text(_) => "text",
            Val::List(_) => "a list",
            Val::Map(_) => "a mapping",
            Val::Archive(_) => "an archive",
            Val::Broken => "a broken value",
        }
    }

    pub fn json(&self) -> Value {
        match &self.value {
            Val::Null | Val::Broken => Value::Null,
            Val::Bool(flag) => Value::Bool(*flag),
            Val::Int(number) => Value::from(*number),
            Val::Float(text) => serde_json::from_str::<Number>(text)
                .map_or_else(|_| Value::from(text.clone()), Value::Number),
            Val::Text(text) => Value::from(text.clone()),
            Val::List(items) => Value::Array(items.iter().map(|item| item.value.json()).collect()),
            Val::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.json()))
                    .collect::<Map<_, _>>(),
            ),
            Val::Archive(archive) => {
                json!({"archive": {"directory": archive.directory, "files": archive.files}})
            }
        }
    }
}

/// A place to complain about: where it stands, and the path that leads there.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub mark: Mark,
    pub path: String,
}

impl At {
    pub fn new(mark: Mark, path: impl Into<String>) -> At {
        At {
            mark,
            path: path.into(),
        }
    }

    pub fn key(&self, entry: &Entry) -> At {
        At {
            mark: entry.at,
            path: self.join(&entry.key),
        }
    }

    /// A key that is not there: it is reported where its mapping opens.
    pub fn missing(&self, key: &str) -> At {
        At {
            mark: self.mark,
            path: self.join(key),
        }
    }

    pub fn item(&self, index: usize, item: &Item) -> At {
        At {
            mark: item.at,
            path: format!("{}[{index}]", self.path),
        }
    }

    /// The key itself when the mapping has it, otherwise the mapping.
    pub fn of(&self, node: &Node, key: &str) -> At {
        match node.entry(key) {
            Some(entry) => self.key(entry),
            None => self.missing(key),
        }
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}
