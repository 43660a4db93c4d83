//! What a value may look like: one declaration for the checker, the hints and the JSON Schemas.

use crate::codes;
use crate::flavour::Flavour;
use crate::load::Loader;
use crate::near::nearest;
use crate::node::{At, Node, Ref, Val};

/// A mapping with known keys.
pub(crate) struct Table {
    /// Name in the JSON Schema.
    pub name: &'static str,
    pub keys: &'static [Key],
    /// Keys that exist elsewhere and are refused here with a reason.
    pub refused: &'static [(&'static str, &'static str)],
}

pub(crate) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// Flavours that have the key.
    pub flavours: &'static [Flavour],
    /// For editors.
    pub doc: &'static str,
}

pub(crate) const EVERY: &[Flavour] = &[Flavour::Magento, Flavour::Platform, Flavour::Upsun];
pub(crate) const DECLARING: &[Flavour] = &[Flavour::Magento, Flavour::Platform];
pub(crate) const UPSUN: &[Flavour] = &[Flavour::Upsun];

pub(crate) const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        required: false,
        flavours: EVERY,
        doc,
    }
}

pub(crate) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        required: true,
        flavours: EVERY,
        doc,
    }
}

pub(crate) const fn only(flavours: &'static [Flavour], key: Key) -> Key {
    Key { flavours, ..key }
}

/// Judges a value that has the right type already.
pub(crate) type Check = fn(&mut Judge<'_, '_>, &Node, &At);

#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Any,
    Null,
    Text,
    /// Text, number or flag.
    Scalar,
    Bool,
    Int {
        min: i64,
        max: i64,
        what: &'static str,
    },
    IntChoice {
        choices: &'static [i64],
        what: &'static str,
    },
    Choice(&'static [&'static str]),
    /// Text that must pass a check.
    Format {
        what: &'static str,
        check: Check,
    },
    /// Whole number or text that must pass a check.
    Duration {
        check: Check,
    },
    Archive,
    Table(&'static Table),
    List(&'static Shape),
    /// Keys that the author chooses.
    Map {
        value: &'static Shape,
        check_key: Option<Check>,
        what: &'static str,
    },
    OneOf {
        shapes: &'static [Shape],
        what: &'static str,
    },
}

/// The checker's hands: where complaints go and which dialect holds.
pub(crate) struct Judge<'l, 'a> {
    pub loader: &'l mut Loader<'a>,
    pub flavour: Flavour,
    pub strict: bool,
    /// Expressions that compiled already; users repeat them.
    pub good_regexes: std::collections::BTreeSet<String>,
    /// What compiling the expressions so far has cost.
    pub regex_cost: u64,
}

impl Judge<'_, '_> {
    /// Complains about everything in the value that is not as the shape says.
    pub fn walk(&mut self, node: &Ref, shape: &Shape, at: &At) {
        if node.is_broken() || self.loader.is_full() {
            return;
        }
        if !accepts(shape, node) {
            let what = describe(shape);
            let found = node.kind();
            self.loader
                .error(
                    codes::WRONG_TYPE,
                    at,
                    format!("{what} expected, found {found}"),
                )
                .expected(what);
            return;
        }
        match shape {
            Shape::Int { min, max, what } => {
                let number = node.int().unwrap_or_default();
                if number < *min || number > *max {
                    let bound = if number < *min {
                        format!("at least {min}")
                    } else {
                        format!("at most {max}")
                    };
                    self.loader
                        .error(
                            codes::BAD_VALUE,
                            at,
                            format!("{bound} expected, found {number}"),
                        )
                        .expected(format!("{what}, {bound}"))
                        .remedy(format!("Write a number of {bound}."));
                }
            }
            Shape::IntChoice { choices, what } => {
                let number = node.int().unwrap_or_default();
                if !choices.contains(&number) {
                    self.loader
                        .error(
                            codes::BAD_VALUE,
                            at,
                            format!("{what} expected, found {number}"),
                        )
                        .expected(*what);
                }
            }
            Shape::Choice(choices) => {
                let word = node.text().unwrap_or_default();
                if !choices.contains(&word) {
                    let all = choices.join(", ");
                    self.loader
                        .error(
                            codes::BAD_VALUE,
                            at,
                            format!("'{}' is not one of {all}", short(word)),
                        )
                        .expected(all.clone())
                        .suggest(nearest(word, choices.iter().copied()));
                }
            }
            Shape::Format { check, .. } | Shape::Duration { check } => check(self, node, at),
            Shape::Table(table) => self.table(node, table, at),
            Shape::List(item) => {
                for (index, element) in node.items().iter().enumerate() {
                    self.walk(&element.value, item, &at.item(index, element));
                }
            }
            Shape::Map {
                value, check_key, ..
            } => {
                for entry in node.entries() {
                    let place = at.key(entry);
                    if let Some(check) = check_key {
                        check(
                            self,
                            &Node {
                                value: Val::Text(entry.key.clone()),
                                weight: 1,
                            },
                            &place,
                        );
                    }
                    self.walk(&entry.value, value, &place);
                }
            }
            Shape::OneOf { shapes, .. } => {
                if let Some(shape) = shapes.iter().find(|shape| accepts(shape, node)) {
                    self.walk(node, shape, at);
                }
            }
            _ => {}
        }
    }

    pub fn table(&mut self, node: &Ref, table: &'static Table, at: &At) {
        for entry in node.entries() {
            if self.loader.is_full() {
                return;
            }
            let place = at.key(entry);
            match table.keys.iter().find(|key| key.name == entry.key) {
                Some(key) if !key.flavours.contains(&self.flavour) => {
                    self.foreign_key(key.name, &place)
                }
                // A key without a value is a key not given.
                Some(key) if entry.value.is_null() && !key.required => {}
                Some(key) => self.walk(&entry.value, &key.shape, &place),
                None => self.unknown_key(&entry.key, table, &place),
            }
        }
        for key in table
            .keys
            .iter()
            .filter(|key| key.required && node.entry(key.name).is_none())
        {
            if key.flavours.contains(&self.flavour) {
                let message = format!("required key missing: {}", describe(&key.shape));
                self.loader
                    .error(codes::MISSING_KEY, &at.missing(key.name), message)
                    .expected(describe(&key.shape))
                    .remedy(format!("Add `{}`: {}", key.name, sentence(key.doc)));
            }
        }
    }

    fn foreign_key(&mut self, name: &str, at: &At) {
        let flavour = self.flavour.name();
        self.lenient(
            codes::FLAVOUR_KEY,
            at,
            format!("unknown key, the {flavour} flavour has no {name}"),
            None,
            &[],
        );
    }

    fn unknown_key(&mut self, name: &str, table: &Table, at: &At) {
        if let Some((_, reason)) = table.refused.iter().find(|(refused, _)| *refused == name) {
            self.loader.error(codes::NOT_ALLOWED_HERE, at, *reason);
            return;
        }
        let known: Vec<&str> = table
            .keys
            .iter()
            .filter(|key| key.flavours.contains(&self.flavour))
            .map(|key| key.name)
            .collect();
        let suggestion = nearest(name, known.iter().copied());
        self.lenient(
            codes::UNKNOWN_KEY,
            at,
            format!("unknown key '{}'", short(name)),
            suggestion,
            &known,
        );
    }

    /// An error in strict mode, otherwise a warning.
    fn lenient(
        &mut self,
        code: &'static str,
        at: &At,
        message: String,
        suggestion: Option<String>,
        known: &[&str],
    ) {
        let draft = if self.strict {
            self.loader.error(code, at, message)
        } else {
            self.loader.warning(code, at, message)
        };
        let draft = draft.suggest(suggestion);
        if !known.is_empty() {
            draft.expected(known.join(", "));
        }
    }
}

/// Whether a value is of the right type, whatever it holds.
pub(crate) fn accepts(shape: &Shape, node: &Node) -> bool {
    match (shape, &node.value) {
        (_, Val::Broken) | (Shape::Any, _) | (Shape::Null, Val::Null) => true,
        (Shape::Text | Shape::Choice(_) | Shape::Format { .. }, Val::Text(_)) => true,
        (Shape::Scalar, Val::Text(_) | Val::Bool(_) | Val::Int(_) | Val::Float(_)) => true,
        (Shape::Bool, Val::Bool(_)) => true,
        (Shape::Int { .. } | Shape::IntChoice { .. }, Val::Int(_)) => true,
        (Shape::Duration { .. }, Val::Int(_) | Val::Text(_)) => true,
        (Shape::Archive, Val::Archive(_)) => true,
        (Shape::Table(_) | Shape::Map { .. }, Val::Map(_)) => true,
        (Shape::List(_), Val::List(_)) => true,
        (Shape::OneOf { shapes, .. }, _) => shapes.iter().any(|shape| accepts(shape, node)),
        _ => false,
    }
}

/// The shape in the words of a complaint.
pub(crate) fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Any => "a value".to_owned(),
        Shape::Null => "nothing".to_owned(),
        Shape::Text => "text".to_owned(),
        Shape::Scalar => "text or a number".to_owned(),
        Shape::Bool => "true or false".to_owned(),
        Shape::Int { what, .. }
        | Shape::IntChoice { what, .. }
        | Shape::Format { what, .. }
        | Shape::Map { what, .. }
        | Shape::OneOf { what, .. } => (*what).to_owned(),
        Shape::Choice(choices) => format!("one of {}", choices.join(", ")),
        Shape::Duration { .. } => "a duration (number or text such as 5m)".to_owned(),
        Shape::Archive => "!archive of a directory".to_owned(),
        Shape::List(_) => "a list".to_owned(),
        Shape::Table(table) => match table
            .keys
            .iter()
            .filter(|key| key.required)
            .map(|key| key.name)
            .collect::<Vec<_>>()
        {
            keys if keys.is_empty() => "a mapping".to_owned(),
            keys => format!("a mapping with {}", keys.join(" and ")),
        },
    }
}

/// Names for "expected": all of them when there are few.
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut names = names.into_iter();
    let mut text = names
        .by_ref()
        .take(LISTED_MAX)
        .map(short)
        .collect::<Vec<_>>()
        .join(", ");
    if names.next().is_some() {
        text.push_str(", …");
    }
    text
}

/// Nobody reads more names than these.
const LISTED_MAX: usize = 40;

/// User text within a message: bounded.
pub(crate) fn short(text: &str) -> String {
    if text.chars().count() <= 80 {
        text.to_owned()
    } else {
        text.chars().take(80).chain(['…']).collect()
    }
}

fn sentence(doc: &str) -> String {
    if doc.ends_with('.') {
        doc.to_owned()
    } else {
        format!("{doc}.")
    }
}
