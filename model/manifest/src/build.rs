//! From the parser's events to nodes: anchors, merge keys, tags, bounds.

use crate::codes;
use crate::here::{Here, Way};
use crate::load::{Loader, NODES_MAX};
use crate::node::{At, Entry, Item, Mark, Node, Ref, Val};
use crate::scalar;
use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// The deepest real file has 12 levels.
const DEPTH_MAX: usize = 64;
/// Above what the kernel takes as one environment variable, above every real hook.
const SCALAR_BYTES_MAX: usize = 256 << 10;
/// Weight of a document with its aliases expanded (see `Node::weight`).
const EXPANSION_MAX: u64 = 150_000;

/// The document cannot be read further; the reason has been reported.
pub(crate) struct Stop;
type Step<T> = Result<T, Stop>;

/// What is known of an anchor.
enum Anchor {
    /// Its value is being read; the alias would contain itself.
    Open(At),
    Done(Ref),
}

pub(crate) struct Builder<'l, 'a> {
    pub(crate) loader: &'l mut Loader<'a>,
    pub(crate) file: u16,
    directory: String,
    anchors: BTreeMap<usize, Anchor>,
    aliased: bool,
    /// Brackets and braces that are open now.
    pub(crate) flow: Vec<Mark>,
}

type Source<'s> = Parser<'s, granit_parser::StrInput<'s>>;

impl<'l, 'a> Builder<'l, 'a> {
    pub fn new(loader: &'l mut Loader<'a>, file: u16, directory: &str) -> Builder<'l, 'a> {
        Builder {
            loader,
            file,
            directory: directory.to_owned(),
            anchors: BTreeMap::new(),
            aliased: false,
            flow: Vec::new(),
        }
    }

    /// The only document of a text. An empty one is null.
    pub fn document(mut self, text: &str, path: &str) -> Option<Ref> {
        let mut options = Options::default();
        options.emit_unresolved_aliases = true;
        options.flow_nesting_limit = 4 * DEPTH_MAX;
        options.block_nesting_limit = 4 * DEPTH_MAX;
        let mut parser = Parser::new_from_str_with_options(text, options);
        let node = self.stream(&mut parser, path).ok()?;
        if self.aliased && node.weight > EXPANSION_MAX {
            self.report_heaviest(&node, path);
            return None;
        }
        Some(node)
    }

    fn stream(&mut self, parser: &mut Source<'_>, path: &str) -> Step<Ref> {
        let root = Here {
            mark: Mark {
                file: self.file,
                line: 1,
                column: 1,
            },
            step: Way::Root(path),
        };
        let mut found: Option<Ref> = None;
        loop {
            let (event, span) = self.next(parser, &root)?;
            match event {
                Event::StreamEnd => return Ok(found.unwrap_or_else(Node::null)),
                Event::DocumentStart(..) if found.is_some() => {
                    let at = At::new(self.mark(span), "(document)");
                    self.loader.error(
                        codes::SECOND_DOCUMENT,
                        &at,
                        "a second document begins here; a file holds one",
                    );
                    return Err(Stop);
                }
                Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::MappingStart(..)
                | Event::Alias(_)
                | Event::UnresolvedAlias(_) => {
                    found = Some(self.node(parser, event, span, &root, 0)?);
                }
                _ => {}
            }
        }
    }

    /// The next event that matters, or the syntax error.
    fn next<'s>(&mut self, parser: &mut Source<'s>, at: &Here<'_>) -> Step<(Event<'s>, Span)> {
        loop {
            match parser.next_event() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Ok((Event::StreamStart | Event::DocumentEnd, _))) => {}
                Some(Ok(found)) => return Ok(found),
                Some(Err(error)) => return Err(self.syntax(&error, at)),
            }
        }
    }

    fn enter(&mut self, style: StructureStyle, span: Span) {
        if style == StructureStyle::Flow {
            let mark = self.mark(span);
            self.flow.push(mark);
        }
    }

    fn leave(&mut self, style: StructureStyle) {
        if style == StructureStyle::Flow {
            self.flow.pop();
        }
    }

    fn mark(&self, span: Span) -> Mark {
        Mark {
            file: self.file,
            line: span.start.line() as u32,
            column: span.start.col() as u32 + 1,
        }
    }

    fn node<'s>(
        &mut self,
        parser: &mut Source<'s>,
        event: Event<'s>,
        span: Span,
        at: &Here<'_>,
        depth: usize,
    ) -> Step<Ref> {
        self.loader.nodes += 1;
        if self.loader.nodes > NODES_MAX {
            let place = At::new(at.mark, "(document)");
            self.loader.error(
                codes::FILE_TOO_LARGE,
                &place,
                format!("more than {NODES_MAX} values"),
            );
            return Err(Stop);
        }
        if depth > DEPTH_MAX {
            self.too_deep(at);
            return Err(Stop);
        }
        match event {
            Event::Alias(id) => Ok(self.alias(id)),
            Event::UnresolvedAlias(name) => {
                self.loader.error(
                    codes::ALIAS_UNKNOWN,
                    &at.at(),
                    format!("alias to the unknown anchor '{name}'"),
                );
                Ok(Node::broken())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), at);
                self.keep(anchor, node)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.open(anchor, at);
                self.enter(style, span);
                let items = self.sequence(parser, at, depth)?;
                self.leave(style);
                let node = self.tagged(Node::new(Val::List(items)), tag.as_deref(), at);
                self.keep(anchor, node)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.open(anchor, at);
                self.enter(style, span);
                let entries = self.mapping(parser, at, depth)?;
                self.leave(style);
                let node = self.tagged(Node::new(Val::Map(entries)), tag.as_deref(), at);
                self.keep(anchor, node)
            }
            _ => Ok(Node::broken()),
        }
    }

    /// Told at the innermost key: an index of sixty brackets helps nobody.
    pub(crate) fn too_deep(&mut self, at: &Here<'_>) {
        let at = at.at();
        let key = at
            .path
            .trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '[' | ']'));
        let place = At::new(at.mark, if key.is_empty() { "(document)" } else { key });
        self.loader.error(
            codes::DEEP_NESTING,
            &place,
            format!("nested deeper than {DEPTH_MAX} levels"),
        );
    }

    fn open(&mut self, anchor: usize, at: &Here<'_>) {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchor::Open(at.at()));
        }
    }

    fn keep(&mut self, anchor: usize, node: Ref) -> Step<Ref> {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchor::Done(node.clone()));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize) -> Ref {
        self.aliased = true;
        match self.anchors.get(&id) {
            Some(Anchor::Done(node)) => node.clone(),
            Some(Anchor::Open(at)) => {
                let at = at.clone();
                self.loader
                    .error(codes::ALIAS_CYCLE, &at, "the anchor contains itself");
                Node::broken()
            }
            None => Node::broken(),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: &Here<'_>) -> Ref {
        if text.len() > SCALAR_BYTES_MAX {
            self.loader.error(
                codes::HUGE_SCALAR,
                &at.at(),
                format!(
                    "a value of {} bytes is over the limit of {SCALAR_BYTES_MAX}",
                    text.len()
                ),
            );
            return Node::broken();
        }
        let plain = || {
            Node::new(if style == ScalarStyle::Plain {
                scalar::resolve(text)
            } else {
                Val::Text(text.to_owned())
            })
        };
        let Some(tag) = tag else {
            return plain();
        };
        match tag_name(tag).as_str() {
            "!include" => self.include_scalar(text, &at.at()),
            "!archive" => self.archive(text, &at.at()),
            "!" | "!!str" => Node::new(Val::Text(text.to_owned())),
            "!!int" | "!!float" | "!!bool" | "!!null" => Node::new(scalar::resolve(text)),
            name => self.unknown_tag(name, at),
        }
    }

    /// A list or mapping that carries a tag.
    fn tagged(&mut self, node: Ref, tag: Option<&Tag>, at: &Here<'_>) -> Ref {
        let Some(tag) = tag else {
            return node;
        };
        match (tag_name(tag).as_str(), &node.value) {
            ("!include", Val::Map(_)) => self.include_mapping(&node, &at.at()),
            ("!" | "!!map", Val::Map(_)) | ("!" | "!!seq", Val::List(_)) => node,
            ("!include" | "!archive", _) => {
                let what = node.kind();
                self.loader
                    .error(
                        codes::WRONG_TYPE,
                        &at.at(),
                        format!("a path is expected, found {what}"),
                    )
                    .expected("path");
                Node::broken()
            }
            (name, _) => self.unknown_tag(name, at),
        }
    }

    fn unknown_tag(&mut self, name: &str, at: &Here<'_>) -> Ref {
        let shown: String = name.chars().take(80).collect();
        let near = ["!include", "!archive"]
            .into_iter()
            .find(|known| crate::near::distance(known, &shown) <= 2);
        self.loader
            .error(codes::UNKNOWN_TAG, &at.at(), format!("unknown tag {shown}"))
            .expected("!include or !archive")
            .suggest(near.map(str::to_owned));
        Node::broken()
    }

    fn sequence(
        &mut self,
        parser: &mut Source<'_>,
        at: &Here<'_>,
        depth: usize,
    ) -> Step<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next(parser, at)?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(items);
            }
            let mark = self.mark(span);
            let place = Here {
                mark,
                step: Way::Item(at, items.len()),
            };
            let value = self.node(parser, event, span, &place, depth + 1)?;
            items.push(Item { at: mark, value });
        }
    }

    fn mapping(
        &mut self,
        parser: &mut Source<'_>,
        at: &Here<'_>,
        depth: usize,
    ) -> Step<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut merges: Vec<(At, Ref)> = Vec::new();
        loop {
            let (event, span) = self.next(parser, at)?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                self.merge(&mut entries, &seen, merges);
                return Ok(entries);
            }
            let mark = self.mark(span);
            let key = match event {
                Event::Scalar(text, style, anchor, _) => {
                    if anchor > 0 {
                        self.anchors
                            .insert(anchor, Anchor::Done(Node::new(Val::Text(text.to_string()))));
                    }
                    Some((text.into_owned(), style))
                }
                Event::Alias(id) => self
                    .alias(id)
                    .text()
                    .map(|text| (text.to_owned(), ScalarStyle::SingleQuoted)),
                other => {
                    self.node(parser, other, span, at, depth + 1)?;
                    None
                }
            };
            let Some((key, style)) = key else {
                let path = at.at().path;
                let place = At::new(
                    mark,
                    if path.is_empty() {
                        "(yaml)".to_owned()
                    } else {
                        path
                    },
                );
                self.loader
                    .error(codes::BAD_KEY, &place, "a key must be text; quote it")
                    .expected("text");
                let (event, span) = self.next(parser, at)?;
                self.node(parser, event, span, at, depth + 1)?;
                continue;
            };
            let place = Here {
                mark,
                step: Way::Key(at, &key),
            };
            let (event, span) = self.next(parser, &place)?;
            let value = self.node(parser, event, span, &place, depth + 1)?;
            if key == "<<" && style == ScalarStyle::Plain {
                merges.push((place.at(), value));
            } else if let Some(first) = seen.get(&key) {
                self.loader
                    .error(
                        codes::DUPLICATE_KEY,
                        &place.at(),
                        format!("duplicate key, first at line {first}"),
                    )
                    .remedy(format!("Keep one of lines {first} and {}.", mark.line));
            } else {
                seen.insert(key.clone(), mark.line);
                entries.push(Entry {
                    key,
                    at: mark,
                    value,
                });
            }
        }
    }

    /// Entries of merged mappings stand behind the mapping's own, which win.
    fn merge(
        &mut self,
        entries: &mut Vec<Entry>,
        own: &BTreeMap<String, u32>,
        merges: Vec<(At, Ref)>,
    ) {
        let mut taken: BTreeSet<String> = if merges.is_empty() {
            BTreeSet::new()
        } else {
            own.keys().cloned().collect()
        };
        for (at, value) in merges {
            let sources: Vec<&Ref> = match &value.value {
                Val::Map(_) => vec![&value],
                Val::List(items)
                    if items
                        .iter()
                        .all(|item| matches!(item.value.value, Val::Map(_) | Val::Broken)) =>
                {
                    items.iter().map(|item| &item.value).collect()
                }
                Val::Broken => continue,
                _ => {
                    let found = value.kind();
                    self.loader
                        .error(
                            codes::BAD_MERGE,
                            &at,
                            format!("merge needs a mapping, found {found}"),
                        )
                        .expected("alias to a mapping, or a list of them");
                    continue;
                }
            };
            for source in sources {
                for entry in source.entries() {
                    if taken.insert(entry.key.clone()) {
                        self.loader.nodes += 1;
                        entries.push(entry.clone());
                    }
                }
            }
        }
    }

    /// Complains about the key whose value expands most.
    fn report_heaviest(&mut self, root: &Ref, path: &str) {
        let mut at = At::new(
            Mark {
                file: self.file,
                line: 1,
                column: 1,
            },
            path,
        );
        let mut node = root;
        while let Some(heaviest) = node.entries().iter().max_by_key(|entry| entry.value.weight) {
            if heaviest.value.weight <= EXPANSION_MAX {
                break;
            }
            at = at.key(heaviest);
            node = &heaviest.value;
        }
        self.loader.error(
            codes::ALIAS_BOMB,
            &at,
            format!(
                "aliases expand to about {} values, over the limit of {EXPANSION_MAX}",
                node.weight
            ),
        );
    }

    pub(crate) fn loader(&mut self) -> &mut Loader<'a> {
        self.loader
    }

    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }
}

/// `!include`, `!!str`, … whatever way the tag was written.
fn tag_name(tag: &Tag) -> String {
    match tag.core_suffix() {
        Some(core) => format!("!!{core}"),
        None => tag.original(),
    }
}
