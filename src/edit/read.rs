//! Reads a file into a [`Tree`] within [`Limits`].
//!
//! The parser tells the bytes of every scalar and bracket. What stands between them (`-`, `:`,
//! the header of a block scalar) is found here by a cursor that only moves forward.

mod cursor;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle};

use self::cursor::Cursor;
use super::tree::{Anchor, Entry, Id, Node, NodeKind, Tree};
use super::{Error, Limits, Result};

/// Reads `bytes` as JSON or YAML.
pub(super) fn tree<'t>(bytes: &'t [u8], limits: &Limits) -> Result<Tree<'t>> {
    if bytes.len() > limits.bytes {
        return Err(Error::TooLarge {
            what: "bytes",
            limit: limits.bytes,
            line: 1,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Error::Parse {
        line: bytes[..error.valid_up_to()]
            .split(|byte| *byte == b'\n')
            .count(),
        problem: "not UTF-8".into(),
    })?;
    let json = is_json(text);
    let mut options = granit_parser::options! {
        emit_anchor_events: true,
        // As libyaml, which the readers of Kubernetes descend from.
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: limits.depth,
        block_nesting_limit: limits.depth,
    };
    options.set_emit_comments(false);
    if json {
        options.simple_key_max_lookahead = text.len();
    }
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(text, options),
        limits,
        cursor: Cursor { text, at: 0 },
        open: Vec::new(),
        anchors: HashMap::new(),
        weights: Vec::new(),
        tree: Tree {
            text,
            json,
            nodes: Vec::new(),
            documents: Vec::new(),
        },
    };
    builder
        .run()
        .map_err(|error| explain_template(text, error))?;
    Ok(builder.tree)
}

fn is_json(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A template that is not YAML yet fails with whatever comes first; say what it is instead.
fn explain_template(text: &str, error: Error) -> Error {
    let Error::Parse { line, .. } = error else {
        return error;
    };
    let is_template = |line: &&str| line.contains("{{") && !line.trim_start().starts_with('#');
    let at_error = text.lines().nth(line.saturating_sub(1));
    if at_error.as_ref().is_some_and(is_template) {
        return Error::HelmTemplate { line };
    }
    match text.lines().position(|line| is_template(&line)) {
        Some(found) => Error::HelmTemplate { line: found + 1 },
        None => error,
    }
}

/// A collection whose end has not come yet.
struct Open {
    id: Id,
    block: bool,
    /// The key whose value comes next.
    key: Option<Id>,
}

struct Builder<'t, 'l> {
    parser: Parser<'t, StrInput<'t>>,
    limits: &'l Limits,
    cursor: Cursor<'t>,
    open: Vec<Open>,
    anchors: HashMap<usize, Id>,
    /// For each node how many there are in it once every alias is written out.
    weights: Vec<usize>,
    tree: Tree<'t>,
}

impl<'t> Builder<'t, '_> {
    fn run(&mut self) -> Result<()> {
        while let Some((event, span)) = self.next()? {
            match event {
                Event::DocumentStart(explicit, _) => {
                    if explicit {
                        self.cursor.at = bytes(&span).end;
                    }
                    self.anchors.clear();
                }
                Event::Scalar(text, style, anchor, _) => {
                    self.scalar(text, style, anchor, &span)?;
                }
                Event::Alias(anchor) => self.alias(anchor, &span)?,
                Event::SequenceStart(style, anchor, _) => {
                    self.start(
                        NodeKind::Sequence { items: Vec::new() },
                        style,
                        anchor,
                        &span,
                    )?;
                }
                Event::MappingStart(style, anchor, _) => {
                    let kind = NodeKind::Mapping {
                        entries: Vec::new(),
                        index: HashMap::new(),
                    };
                    self.start(kind, style, anchor, &span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(&span)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>> {
        let Some(next) = self.parser.next_event() else {
            return Ok(None);
        };
        next.map(Some).map_err(|error| Error::Parse {
            line: error.marker().line().max(1),
            problem: error.info(),
        })
    }

    /// Moves the cursor over the punctuation in front of the next node: whether a `:` was there,
    /// and where a `-` or `?` was.
    fn punctuation(&mut self) -> (bool, Option<usize>) {
        let Some(open) = self.open.last() else {
            self.cursor.skip_blanks();
            return (false, None);
        };
        if open.key.is_some() {
            return (self.cursor.take_colon(), None);
        }
        let sequence = matches!(self.tree.nodes[open.id].kind, NodeKind::Sequence { .. });
        (false, self.cursor.take_indicator(open.block, sequence))
    }

    fn scalar(
        &mut self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        anchor: usize,
        span: &Span,
    ) -> Result<()> {
        let range = bytes(span);
        // What the parser calls "~" where nothing is written.
        let written = !(style == ScalarStyle::Plain && range.is_empty());
        let text = if written { text } else { Cow::Borrowed("") };
        let id = self.node(NodeKind::Scalar { text, style }, anchor, span)?;
        let after = self.tree.nodes[id].after;
        let range = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => self.cursor.block_scalar(range.end),
            _ if written => range,
            _ => after..after,
        };
        self.cursor.at = range.end;
        self.tree.nodes[id].span = range;
        self.attach(id, 1, span)
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<()> {
        let line = span.start.line();
        let target = self
            .anchors
            .get(&anchor)
            .copied()
            .ok_or_else(|| Error::Parse {
                line,
                problem: "an alias of an anchor that is not there".into(),
            })?;
        if self.open.iter().any(|open| open.id == target) {
            return Err(Error::Parse {
                line,
                problem: "an alias inside the value that it stands for".into(),
            });
        }
        let id = self.node(NodeKind::Alias { target }, 0, span)?;
        if let Some(anchor) = &mut self.tree.nodes[target].anchor {
            anchor.aliases.push(id);
        }
        self.cursor.at = bytes(span).end;
        let weight = self.weights[target];
        self.attach(id, weight, span)
    }

    fn start(
        &mut self,
        kind: NodeKind<'t>,
        style: StructureStyle,
        anchor: usize,
        span: &Span,
    ) -> Result<()> {
        let id = self.node(kind, anchor, span)?;
        let block = style == StructureStyle::Block;
        if !block {
            self.tree.nodes[id].flow = true;
            self.cursor.at = bytes(span).end;
        }
        if self.open.len() >= self.limits.depth {
            return Err(Error::TooLarge {
                what: "levels",
                limit: self.limits.depth,
                line: span.start.line(),
            });
        }
        self.attach(id, 1, span)?;
        self.open.push(Open {
            id,
            block,
            key: None,
        });
        Ok(())
    }

    fn end(&mut self, span: &Span) -> Result<()> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        if !open.block {
            self.cursor.at = self.cursor.at.max(bytes(span).end);
        }
        let first = match &self.tree.nodes[open.id].kind {
            NodeKind::Mapping { entries, .. } => entries.first().map(|entry| entry.key),
            NodeKind::Sequence { items } => items.first().copied(),
            _ => None,
        };
        if let (true, Some(first)) = (open.block, first) {
            // The dash or the key; the parser's own mark is behind the dash of a list that is
            // not indented.
            self.tree.nodes[open.id].span.start = self.tree.nodes[first].lead;
        }
        self.tree.nodes[open.id].span.end = self.cursor.at;
        let weight = self.weights[open.id];
        match self.open.last() {
            Some(parent) => self.add_weight(parent.id, weight, span),
            None => Ok(()),
        }
    }

    fn node(&mut self, kind: NodeKind<'t>, anchor: usize, span: &Span) -> Result<Id> {
        let line = span.start.line();
        if self.tree.nodes.len() >= self.limits.nodes {
            return Err(Error::TooLarge {
                what: "values",
                limit: self.limits.nodes,
                line,
            });
        }
        let (colon, lead) = self.punctuation();
        let tag = span.tag_span().map(|tag| bytes(&tag));
        let id = self.tree.nodes.len();
        let mut after = self.cursor.at;
        if let Some(tag) = &tag {
            after = after.max(tag.end);
        }
        let anchor = self.anchor(anchor, id, line)?;
        let anchor = anchor.map(|(anchor, end)| {
            after = after.max(end);
            anchor
        });
        self.cursor.at = after;
        let parent = self.open.last().map(|open| open.id);
        let properties = tag.iter().map(|tag| tag.start);
        let properties = properties.chain(anchor.iter().map(|anchor| anchor.start));
        let start = properties.fold(bytes(span).start, usize::min);
        self.tree.nodes.push(Node {
            kind,
            span: bytes(span),
            lead: lead.unwrap_or(start),
            after,
            colon,
            line,
            tag,
            anchor,
            flow: parent.is_some_and(|parent| self.tree.nodes[parent].flow),
            parent,
        });
        self.weights.push(0);
        Ok(id)
    }

    /// The anchor of a node, and where it ends; the parser tells it behind the node.
    fn anchor(
        &mut self,
        number: usize,
        id: Id,
        line: usize,
    ) -> Result<Option<(Anchor<'t>, usize)>> {
        if number == 0 {
            return Ok(None);
        }
        if self.anchors.len() >= self.limits.anchors {
            return Err(Error::TooLarge {
                what: "anchors",
                limit: self.limits.anchors,
                line,
            });
        }
        self.anchors.insert(number, id);
        let Some((Event::Anchor(_, name), place)) = self.next()? else {
            return Ok(None);
        };
        let place = bytes(&place);
        let anchor = Anchor {
            name,
            start: place.start,
            aliases: Vec::new(),
        };
        Ok(Some((anchor, place.end)))
    }

    /// Hangs a node into the collection that is open.
    fn attach(&mut self, id: Id, weight: usize, span: &Span) -> Result<()> {
        self.add_weight(id, weight, span)?;
        let Some(open) = self.open.last_mut() else {
            return self.document(id);
        };
        let parent = open.id;
        let scalar = !matches!(
            self.tree.nodes[id].kind,
            NodeKind::Sequence { .. } | NodeKind::Mapping { .. }
        );
        let text = match &self.tree.nodes[id].kind {
            NodeKind::Scalar { text, .. } => Some(text.clone()),
            _ => None,
        };
        match &mut self.tree.nodes[parent].kind {
            NodeKind::Sequence { items } => items.push(id),
            NodeKind::Mapping { entries, index } => {
                if let Some(key) = open.key.take() {
                    entries.push(Entry { key, value: id });
                } else {
                    open.key = Some(id);
                    match text.map(|text| index.entry(text)) {
                        Some(Slot::Occupied(taken)) => {
                            return Err(Error::DuplicateKey {
                                line: span.start.line(),
                                key: taken.key().clone().into_owned(),
                            });
                        }
                        Some(Slot::Vacant(free)) => {
                            free.insert(entries.len());
                        }
                        // `{{` opens a map that is the key of a map: never meant so.
                        None if self.tree.text[..bytes(span).end].ends_with("{{") => {
                            let line = span.start.line();
                            return Err(Error::HelmTemplate { line });
                        }
                        None => {}
                    }
                }
            }
            _ => {}
        }
        if scalar {
            self.add_weight(parent, weight, span)
        } else {
            Ok(())
        }
    }

    fn document(&mut self, id: Id) -> Result<()> {
        // Only comments, or nothing at all.
        let node = &self.tree.nodes[id];
        if self.tree.is_null(id) && node.span.is_empty() && node.anchor.is_none() {
            return Ok(());
        }
        if self.tree.documents.len() >= self.limits.documents {
            return Err(Error::TooLarge {
                what: "documents",
                limit: self.limits.documents,
                line: node.line,
            });
        }
        self.tree.documents.push(id);
        Ok(())
    }

    fn add_weight(&mut self, id: Id, weight: usize, span: &Span) -> Result<()> {
        self.weights[id] = self.weights[id].saturating_add(weight);
        if self.weights[id] > self.limits.nodes {
            return Err(Error::TooLarge {
                what: "values, with every alias written out,",
                limit: self.limits.nodes,
                line: span.start.line(),
            });
        }
        Ok(())
    }
}

/// The parser gives byte offsets for every input that is a `str`.
fn bytes(span: &Span) -> std::ops::Range<usize> {
    span.byte_range().unwrap_or_default()
}
