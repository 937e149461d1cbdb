//! The part of OData that Graph's callers use to read applications.

use std::borrow::Cow;

use crate::entra::{ClientId, ObjectId};

/// Graph's own page size where `$top` is not given, and the largest that it allows.
const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 999;

/// Which objects a list holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    Client(ClientId),
    Object(ObjectId),
    Named(String),
    NameStartsWith(String),
    /// A well-formed filter that no object can meet, such as an `appId` that is no GUID.
    Nothing,
}

/// The query of a read, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) filter: Filter,
    /// Names of properties as the caller spelt them; `None` is all.
    pub(super) select: Option<Vec<String>>,
    pub(super) top: usize,
    pub(super) skip: usize,
    pub(super) count: bool,
}

/// A query that Graph refuses; the text is Graph's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsupported {
    #[error("Invalid page size specified: '{0}'. Must be between 1 and {LARGEST_PAGE} inclusive.")]
    PageSize(String),
    #[error("Invalid filter clause: unsupported or malformed expression '{0}'.")]
    Filter(String),
    #[error("The supplied $skiptoken is not valid.")]
    SkipToken,
}

impl Query {
    /// Reads the part of a URL after the question mark; options it does not know change nothing.
    pub(super) fn parse(raw: &str) -> Result<Self, Unsupported> {
        let mut query = Self {
            filter: Filter::All,
            select: None,
            top: DEFAULT_PAGE,
            skip: 0,
            count: false,
        };
        for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
            match name.as_ref() {
                "$filter" => query.filter = filter(value.trim())?,
                "$select" => {
                    let names = value.split(',').map(|name| name.trim().to_owned());
                    query.select = Some(names.filter(|name| !name.is_empty()).collect());
                }
                "$top" => query.top = page_size(&value)?,
                "$skiptoken" => query.skip = value.parse().map_err(|_| Unsupported::SkipToken)?,
                "$count" => query.count = value == "true",
                _ => {}
            }
        }
        Ok(query)
    }
}

/// The query of the page after this one: the same, from `skip` on.
pub(super) fn next_page(raw: &str, skip: usize) -> String {
    let mut next = form_urlencoded::Serializer::new(String::with_capacity(raw.len() + 24));
    next.extend_pairs(
        form_urlencoded::parse(raw.as_bytes()).filter(|(name, _)| name != "$skiptoken"),
    );
    next.append_pair("$skiptoken", &skip.to_string());
    // Graph spells the names of options with a plain dollar sign.
    next.finish().replace("%24", "$")
}

fn page_size(text: &str) -> Result<usize, Unsupported> {
    text.parse()
        .ok()
        .filter(|size| (1..=LARGEST_PAGE).contains(size))
        .ok_or_else(|| Unsupported::PageSize(text.to_owned()))
}

fn filter(text: &str) -> Result<Filter, Unsupported> {
    let unsupported = || Unsupported::Filter(text.to_owned());
    if let Some(arguments) = text.strip_prefix("startswith(") {
        let (property, start) = arguments
            .strip_suffix(')')
            .and_then(|arguments| arguments.split_once(','))
            .ok_or_else(unsupported)?;
        let start = literal(start.trim()).ok_or_else(unsupported)?;
        return match property.trim() {
            "displayName" => Ok(Filter::NameStartsWith(start.into_owned())),
            _ => Err(unsupported()),
        };
    }
    let (property, value) = text.split_once(" eq ").ok_or_else(unsupported)?;
    let value = literal(value.trim()).ok_or_else(unsupported)?;
    match property.trim() {
        "appId" => Ok(value.parse().map_or(Filter::Nothing, Filter::Client)),
        "id" => Ok(value.parse().map_or(Filter::Nothing, Filter::Object)),
        "displayName" => Ok(Filter::Named(value.into_owned())),
        _ => Err(unsupported()),
    }
}

/// A text in single quotes, in which a quote is doubled.
pub(super) fn literal(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    if !inner.contains('\'') {
        return Some(Cow::Borrowed(inner));
    }
    let single = inner.replace("''", "\u{0}");
    (!single.contains('\'')).then(|| Cow::Owned(single.replace('\u{0}', "'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(text: &str) -> Result<Filter, Unsupported> {
        let raw = form_urlencoded::Serializer::new(String::new())
            .append_pair("$filter", text)
            .finish();
        Query::parse(&raw).map(|query| query.filter)
    }

    #[test]
    fn filters_are_read_as_the_azure_cli_writes_them() {
        let id = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
        let encoded = format!("$filter=appId%20eq%20%27{id}%27");
        let query = Query::parse(&encoded).unwrap();
        assert_eq!(query.filter, Filter::Client(id.parse().unwrap()));
        assert_eq!(
            filter_of("startswith(displayName,'O''Brien')"),
            Ok(Filter::NameStartsWith("O'Brien".into()))
        );
        assert_eq!(
            filter_of("displayName eq 'x, y'"),
            Ok(Filter::Named("x, y".into()))
        );
        assert_eq!(filter_of("appId eq 'no-guid'"), Ok(Filter::Nothing));
    }

    #[test]
    fn what_graph_refuses_is_refused() {
        for filter in [
            "appId eq x",
            "tags/any(t: t eq 'x')",
            "appId eq 'a' or appId eq 'b'",
            "x",
        ] {
            assert!(filter_of(filter).is_err(), "{filter}");
        }
        for top in ["0", "1000", "-1", "many"] {
            assert!(Query::parse(&format!("$top={top}")).is_err(), "{top}");
        }
        assert!(Query::parse("$skiptoken=x").is_err());
    }

    #[test]
    fn the_next_page_keeps_the_query() {
        let raw = "$top=2&$select=id,appId&$skiptoken=2";
        let next = next_page(raw, 4);
        let query = Query::parse(&next).unwrap();
        assert_eq!((query.top, query.skip), (2, 4));
        assert_eq!(
            query.select.as_deref(),
            Some(&["id".to_owned(), "appId".to_owned()][..])
        );
        assert!(next.starts_with("$top=2&"), "{next}");
    }
}
