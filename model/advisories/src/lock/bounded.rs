//! Shapes for reading lock files that a hostile file cannot blow up.
//!
//! Every entry of every map and list is charged to one budget, which also ends YAML aliases that repeat a
//! large map many times. The budget is a thread's own value, because serde gives a derived type no place for state.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Map and list entries in one lock file. A monorepo of 10 000 packages has near 100 000.
pub const ENTRIES_MAX: u32 = 600_000;

/// Text this long is no name, version or range.
const TEXT_BYTES_MAX: usize = 4096;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(0) };
}

/// Fills the budget for one file.
pub fn refill() {
    LEFT.set(ENTRIES_MAX);
}

fn charge<E: Error>() -> Result<(), E> {
    let left = LEFT.get();
    if left == 0 {
        return Err(E::custom(format_args!("more than {ENTRIES_MAX} entries")));
    }
    LEFT.set(left - 1);
    Ok(())
}

/// A map in the order of the file, also where a tool writes an empty list or null for it.
#[derive(Debug)]
pub struct Pairs<V>(pub Vec<(String, V)>);

impl<V> Default for Pairs<V> {
    fn default() -> Pairs<V> {
        Pairs(Vec::new())
    }
}

impl<V> Pairs<V> {
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs<V>, D::Error> {
        struct Reader<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Reader<V> {
            type Value = Pairs<V>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    charge()?;
                    let value = map.next_value()?;
                    if key.len() <= TEXT_BYTES_MAX {
                        pairs.push((key, value));
                    }
                }
                Ok(Pairs(pairs))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pairs<V>, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Pairs::default())
            }
            fn visit_unit<E: Error>(self) -> Result<Pairs<V>, E> {
                Ok(Pairs::default())
            }
            fn visit_none<E: Error>(self) -> Result<Pairs<V>, E> {
                Ok(Pairs::default())
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Pairs<V>, E> {
                Ok(Pairs::default())
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<Pairs<V>, E> {
                Ok(Pairs::default())
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// A list, also where null stands for it.
#[derive(Debug)]
pub struct Items<T>(pub Vec<T>);

impl<T> Default for Items<T> {
    fn default() -> Items<T> {
        Items(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items<T>, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Items<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    charge()?;
                    items.push(item);
                }
                Ok(Items(items))
            }
            fn visit_unit<E: Error>(self) -> Result<Items<T>, E> {
                Ok(Items::default())
            }
            fn visit_none<E: Error>(self) -> Result<Items<T>, E> {
                Ok(Items::default())
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// A value of which only the text matters; a map gives its `version`, anything else is empty.
#[derive(Debug, Default)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(if text.len() <= TEXT_BYTES_MAX {
                    text.to_owned()
                } else {
                    String::new()
                }))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Text, E> {
                Ok(Text::default())
            }
            fn visit_unit<E: Error>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
            fn visit_none<E: Error>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                let mut version = Text::default();
                while let Some(key) = map.next_key::<String>()? {
                    charge()?;
                    // Only one level is of interest, so nothing recurses here.
                    match key.as_str() {
                        "version" => {
                            version = Text(map.next_value::<Option<String>>()?.unwrap_or_default())
                        }
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(version)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {
                    charge()?;
                }
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A flag that other types of value leave unset.
#[derive(Debug, Default, Clone, Copy)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flag, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Flag;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("true or false")
            }
            fn visit_bool<E: Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }
            fn visit_unit<E: Error>(self) -> Result<Flag, E> {
                Ok(Flag(false))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Flag, E> {
                Ok(Flag(text == "true"))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
