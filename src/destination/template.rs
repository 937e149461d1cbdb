//! A text of the user's with the secret in it.

use chrono::{DateTime, SecondsFormat, Utc};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::Parcel;
use super::plain::one_line;
use crate::entra::{ClientId, KeyId, TenantId};

/// A template that was tried out: it renders, and what it renders depends on the secret.
#[derive(Debug)]
pub(super) struct Template(Box<Environment<'static>>);

/// Why a template can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateFault {
    /// A syntax error, an unknown name, a wrong filter; found with made-up values.
    #[error("the template does not render: {detail}")]
    Broken {
        /// The words of the template engine, with the line.
        detail: String,
    },
    /// The file would be the same whatever the secret is.
    #[error("what the template renders does not depend on {{{{ secret }}}}")]
    NoSecret,
    /// It rendered with made-up values, but not with these.
    #[error("the template does not render for this secret: {kind}, in line {line}")]
    Refused {
        /// What kind of error; the engine's own words could quote the secret.
        kind: minijinja::ErrorKind,
        /// Counted from 1; 0 where it is not known.
        line: usize,
    },
}

/// What a template can name.
struct Values<'a> {
    secret: &'a str,
    tenant_id: TenantId,
    client_id: ClientId,
    key_id: KeyId,
    expires_at: Option<DateTime<Utc>>,
    connection: &'a str,
}

const NAME: &str = "template";

impl Template {
    /// Reads the template and renders it twice with made-up values.
    pub(super) fn parse(source: &str) -> Result<Self, TemplateFault> {
        let broken = |error: minijinja::Error| TemplateFault::Broken {
            detail: one_line(&error.to_string()),
        };
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.keep_trailing_newline(true).build();
        environment.set_syntax(syntax.map_err(broken)?);
        // Its errors would carry the values of all variables.
        environment.set_debug(false);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(broken)?;
        let template = Self(Box::new(environment));
        let tried = ["made-up-secret-1", "MADE_UP_SECRET~2"].map(|secret| {
            let rendered = template.rendered(&Values::made_up(secret));
            rendered.map_err(broken)
        });
        match tried {
            [Ok(one), Ok(other)] if one == other => Err(TemplateFault::NoSecret),
            [Ok(_), Ok(_)] => Ok(template),
            [Err(fault), _] | [_, Err(fault)] => Err(fault),
        }
    }

    /// The whole file.
    pub(super) fn render(&self, parcel: &Parcel) -> Result<Zeroizing<String>, TemplateFault> {
        let values = Values {
            secret: parcel.secret.expose_secret(),
            tenant_id: parcel.tenant_id,
            client_id: parcel.client_id,
            key_id: parcel.key_id,
            expires_at: parcel.expires_at,
            connection: parcel.connection.as_str(),
        };
        self.rendered(&values)
            .map_err(|error| TemplateFault::Refused {
                kind: error.kind(),
                line: error.line().unwrap_or_default(),
            })
    }

    fn rendered(&self, values: &Values<'_>) -> Result<Zeroizing<String>, minijinja::Error> {
        let expires_at = values.expires_at;
        let context = context! {
            secret => values.secret,
            tenant_id => values.tenant_id.to_string(),
            client_id => values.client_id.to_string(),
            key_id => values.key_id.to_string(),
            expires_at => expires_at
                .map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
                .unwrap_or_default(),
            connection => values.connection,
        };
        let text = self.0.get_template(NAME)?.render(context)?;
        Ok(Zeroizing::new(text))
    }
}

impl<'a> Values<'a> {
    fn made_up(secret: &'a str) -> Self {
        let id = uuid::Uuid::nil();
        Self {
            secret,
            tenant_id: TenantId(id),
            client_id: ClientId(id),
            key_id: KeyId(id),
            expires_at: Some(DateTime::UNIX_EPOCH),
            connection: "made-up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_a_template_is_tried_out_when_it_is_declared() {
        assert!(Template::parse("{{ secret }} {{ tenant_id }}").is_ok());
        for broken in ["{{ secret", "{{ secret }}{{ secert }}", "{{ secret|nope }}"] {
            let fault = Template::parse(broken).unwrap_err();
            assert!(matches!(fault, TemplateFault::Broken { .. }), "{fault}");
        }
        for without in [
            "",
            "{{ key_id }}",
            "{# {{ secret }} #}",
            "{% if secret %}x{% endif %}",
        ] {
            assert_eq!(
                Template::parse(without).unwrap_err(),
                TemplateFault::NoSecret
            );
        }
        let words = TemplateFault::NoSecret.to_string();
        assert!(words.ends_with("{{ secret }}"), "{words}");
    }
}
