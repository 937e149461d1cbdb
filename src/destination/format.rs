//! How the secret stands in a file: what the file is to hold, and whether it does. Pure.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::Parcel;
use super::dotenv::{self, DotenvFault, Variable};
use super::json::{self, JsonFault, Pointer};
use super::template::{Template, TemplateFault};
use crate::connection::{FileFormat, FileSpec};

/// A format with all that it needs.
#[derive(Debug)]
pub(super) enum Format {
    /// The value and nothing else.
    Raw,
    /// One variable of a file that others also write.
    Dotenv(Variable),
    /// One key of a document that others also write.
    Json(Pointer),
    /// A text of the user's.
    Template(Template),
}

/// Why a format is not as it should be, or a file does not fit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatFault {
    /// A setting that the format can't do without.
    #[error("format \"{format}\" needs `{setting}`")]
    Needs {
        /// The format.
        format: &'static str,
        /// `key` or `template`.
        setting: &'static str,
    },
    /// A setting that would be ignored.
    #[error("format \"{format}\" has no `{setting}`")]
    Superfluous {
        /// The format.
        format: &'static str,
        /// `key` or `template`.
        setting: &'static str,
    },
    /// See [`DotenvFault`].
    #[error(transparent)]
    Dotenv(#[from] DotenvFault),
    /// See [`JsonFault`].
    #[error(transparent)]
    Json(#[from] JsonFault),
    /// See [`TemplateFault`].
    #[error(transparent)]
    Template(#[from] TemplateFault),
}

impl Format {
    /// The format of a file as it was declared.
    pub(super) fn parse(spec: &FileSpec) -> Result<Self, FormatFault> {
        let format = name(spec.format);
        let (key, template) = (spec.key.as_deref(), spec.template.as_deref());
        let superfluous = match spec.format {
            FileFormat::Raw => key.and(Some("key")).or(template.and(Some("template"))),
            FileFormat::Dotenv | FileFormat::Json => template.and(Some("template")),
            FileFormat::Template => key.and(Some("key")),
        };
        if let Some(setting) = superfluous {
            return Err(FormatFault::Superfluous { format, setting });
        }
        let needs = |setting| FormatFault::Needs { format, setting };
        Ok(match spec.format {
            FileFormat::Raw => Self::Raw,
            FileFormat::Dotenv => Self::Dotenv(key.ok_or(needs("key"))?.parse()?),
            FileFormat::Json => Self::Json(key.ok_or(needs("key"))?.parse()?),
            FileFormat::Template => {
                Self::Template(Template::parse(template.ok_or(needs("template"))?)?)
            }
        })
    }

    /// What the file is to hold; `existing` is what it holds.
    pub(super) fn render(
        &self,
        existing: Option<&[u8]>,
        parcel: &Parcel,
    ) -> Result<Zeroizing<Vec<u8>>, FormatFault> {
        let secret = parcel.secret.expose_secret();
        let text = match self {
            Self::Raw => Zeroizing::new(secret.to_owned()),
            Self::Dotenv(variable) => dotenv::splice(existing, variable, secret)?,
            Self::Json(pointer) => json::splice(existing, pointer, secret)?,
            Self::Template(template) => template.render(parcel)?,
        };
        Ok(into_bytes(text))
    }

    /// Whether a file with these bytes hands this secret to whoever reads it.
    pub(super) fn holds(&self, existing: &[u8], parcel: &Parcel) -> bool {
        let secret = parcel.secret.expose_secret().as_bytes();
        let equal = |a: &[u8], b: &[u8]| verify_slices_are_equal(a, b).is_ok();
        match self {
            Self::Raw => equal(existing, secret),
            Self::Dotenv(variable) => dotenv::read_back(existing, variable)
                .is_some_and(|value| equal(value.as_bytes(), secret)),
            Self::Json(pointer) => json::read_back(existing, pointer)
                .is_some_and(|value| equal(value.as_bytes(), secret)),
            Self::Template(template) => template
                .render(parcel)
                .is_ok_and(|text| equal(existing, text.as_bytes())),
        }
    }

    /// Whether a secret could be put into a file with these bytes.
    pub(super) fn check(&self, existing: Option<&[u8]>) -> Result<(), FormatFault> {
        const MADE_UP: &str = "made-up";
        match self {
            // The template was tried out when it was read.
            Self::Raw | Self::Template(_) => {}
            Self::Dotenv(variable) => drop(dotenv::splice(existing, variable, MADE_UP)?),
            Self::Json(pointer) => drop(json::splice(existing, pointer, MADE_UP)?),
        }
        Ok(())
    }

    /// The key inside the file; `None` where the whole file is the place.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::Raw | Self::Template(_) => None,
            Self::Dotenv(variable) => Some(variable.to_string()),
            Self::Json(pointer) => Some(pointer.to_string()),
        }
    }
}

impl FormatFault {
    /// What to do.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Needs { .. } => "add it to the destination",
            Self::Superfluous { .. } => "remove it from the destination, or change `format`",
            Self::Dotenv(DotenvFault::Variable) => "give a `key` such as AZURE_CLIENT_SECRET",
            Self::Dotenv(DotenvFault::Unquotable) => {
                "use format \"raw\" or \"json\" for this consumer, or rotate again for a secret \
                 without quotes, backslashes or \"${\""
            }
            Self::Dotenv(DotenvFault::Twice { .. }) => "remove one of the two lines",
            Self::Dotenv(DotenvFault::Inside { .. } | DotenvFault::Open { .. }) => {
                "close the quote in its line, or quote a lone apostrophe"
            }
            Self::Json(JsonFault::Pointer) => "give a `key` such as clientSecret or /azure/secret",
            Self::Json(JsonFault::Twice { .. }) => "remove one of the two from the file",
            Self::Json(JsonFault::Occupied { .. } | JsonFault::NoObject { .. }) => {
                "give the `key` of a text inside an object"
            }
            Self::Json(JsonFault::NoElement { .. }) => {
                "give the index of an element that is there, counted from 0"
            }
            Self::Json(JsonFault::Syntax { .. }) => {
                "mend the file (comments and trailing commas are not JSON), or use another format"
            }
            Self::Dotenv(DotenvFault::NotText) | Self::Json(JsonFault::NotText) => {
                "save the file as UTF-8, or check that it is the right one"
            }
            Self::Template(TemplateFault::Broken { .. }) => {
                "mend the template; it may name secret, tenant_id, client_id, key_id, expires_at \
                 and connection"
            }
            Self::Template(TemplateFault::NoSecret) => "put {{ secret }} into the template",
            Self::Template(TemplateFault::Refused { .. }) => {
                "mend the template so that it renders for every secret"
            }
        }
    }
}

/// As `format = "…"` spells it.
fn name(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Raw => "raw",
        FileFormat::Dotenv => "dotenv",
        FileFormat::Json => "json",
        FileFormat::Template => "template",
    }
}

/// Without a copy.
fn into_bytes(mut text: Zeroizing<String>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}
