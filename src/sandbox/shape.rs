//! Objects of the directory as Graph writes them: the properties and their order as recorded.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::Serialize;

use super::replica::View;
use super::tenant::{Application, Holder, Owner, Password};
use super::wire::to_json;

/// Where the value of a property comes from.
enum Value {
    /// The same for every object of the sandbox, as JSON.
    Fixed(&'static str),
    ObjectId,
    ClientId,
    Created,
    DisplayName,
    PublisherDomain,
    Audience,
    Passwords,
}

const NULL: Value = Value::Fixed("null");
const NONE: Value = Value::Fixed("[]");

const APPLICATION: &[(&str, Value)] = &[
    ("id", Value::ObjectId),
    ("deletedDateTime", NULL),
    ("appId", Value::ClientId),
    ("applicationTemplateId", NULL),
    ("disabledByMicrosoftStatus", NULL),
    ("createdDateTime", Value::Created),
    ("displayName", Value::DisplayName),
    ("description", NULL),
    ("groupMembershipClaims", NULL),
    ("identifierUris", NONE),
    ("isDeviceOnlyAuthSupported", NULL),
    ("isFallbackPublicClient", NULL),
    ("notes", NULL),
    ("publisherDomain", Value::PublisherDomain),
    ("serviceManagementReference", NULL),
    ("signInAudience", Value::Audience),
    ("tags", NONE),
    ("tokenEncryptionKeyId", NULL),
    ("defaultRedirectUri", NULL),
    ("certification", NULL),
    ("optionalClaims", NULL),
    ("addIns", NONE),
    (
        "api",
        Value::Fixed(
            r#"{"acceptMappedClaims":null,"knownClientApplications":[],"requestedAccessTokenVersion":2,"oauth2PermissionScopes":[],"preAuthorizedApplications":[]}"#,
        ),
    ),
    ("appRoles", NONE),
    (
        "info",
        Value::Fixed(
            r#"{"logoUrl":null,"marketingUrl":null,"privacyStatementUrl":null,"supportUrl":null,"termsOfServiceUrl":null}"#,
        ),
    ),
    ("keyCredentials", NONE),
    (
        "parentalControlSettings",
        Value::Fixed(r#"{"countriesBlockedForMinors":[],"legalAgeGroupRule":"Allow"}"#),
    ),
    ("passwordCredentials", Value::Passwords),
    ("publicClient", Value::Fixed(r#"{"redirectUris":[]}"#)),
    ("requiredResourceAccess", NONE),
    (
        "verifiedPublisher",
        Value::Fixed(r#"{"displayName":null,"verifiedPublisherId":null,"addedDateTime":null}"#),
    ),
    (
        "web",
        Value::Fixed(
            r#"{"homePageUrl":null,"logoutUrl":null,"redirectUris":[],"implicitGrantSettings":{"enableAccessTokenIssuance":false,"enableIdTokenIssuance":false}}"#,
        ),
    ),
    ("spa", Value::Fixed(r#"{"redirectUris":[]}"#)),
];

const SERVICE_PRINCIPAL: &[(&str, Value)] = &[
    ("id", Value::ObjectId),
    ("deletedDateTime", NULL),
    ("accountEnabled", Value::Fixed("true")),
    ("alternativeNames", NONE),
    ("appDisplayName", Value::DisplayName),
    ("appId", Value::ClientId),
    ("createdDateTime", Value::Created),
    ("description", NULL),
    ("displayName", Value::DisplayName),
    ("notes", NULL),
    ("servicePrincipalNames", NONE),
    ("servicePrincipalType", Value::Fixed(r#""Application""#)),
    ("signInAudience", Value::Audience),
    ("tags", NONE),
    ("keyCredentials", NONE),
    ("passwordCredentials", Value::Passwords),
];

/// The name of a collection, as paths and contexts spell it.
pub(super) fn collection(holder: Holder) -> &'static str {
    match holder {
        Holder::Application => "applications",
        Holder::ServicePrincipal => "servicePrincipals",
    }
}

/// An application or its service principal, as one copy of the directory sees it.
#[derive(Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) application: &'a Application,
    pub(super) holder: Holder,
    pub(super) publisher_domain: &'a str,
    pub(super) view: View,
    pub(super) now: DateTime<Utc>,
}

/// The first of these names that is no property of the collection's objects.
pub(super) fn unknown_property(holder: Holder, select: &[String]) -> Option<&str> {
    let known = |name: &str| {
        let mut properties = properties(holder).iter();
        properties.any(|(property, _)| property.eq_ignore_ascii_case(name))
    };
    let mut names = select.iter().map(String::as_str);
    names.find(|name| !known(name))
}

fn properties(holder: Holder) -> &'static [(&'static str, Value)] {
    match holder {
        Holder::Application => APPLICATION,
        Holder::ServicePrincipal => SERVICE_PRINCIPAL,
    }
}

impl Object<'_> {
    /// Appends the properties with their names, without the braces.
    pub(super) fn write(&self, out: &mut String, select: Option<&[String]>) {
        let selected = |name: &str| {
            select.is_none_or(|select| {
                select
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(name))
            })
        };
        let mut separator = "";
        for (name, value) in properties(self.holder)
            .iter()
            .filter(|(name, _)| selected(name))
        {
            let _ = write!(out, "{separator}\"{name}\":");
            self.write_value(out, value);
            separator = ",";
        }
    }

    fn write_value(&self, out: &mut String, value: &Value) {
        let application = self.application;
        let _ = match value {
            Value::Fixed(json) => write!(out, "{json}"),
            Value::ObjectId => write!(out, "\"{}\"", self.object_id()),
            Value::ClientId => write!(out, "\"{}\"", application.client_id),
            Value::Created => {
                let created = application.created.written().format("%Y-%m-%dT%H:%M:%SZ");
                write!(out, "\"{created}\"")
            }
            Value::DisplayName => write!(out, "{}", to_json(&application.display_name)),
            Value::PublisherDomain => write!(out, "{}", to_json(&self.publisher_domain)),
            Value::Audience => write!(out, "\"{}\"", application.audience.name()),
            Value::Passwords => write!(out, "{}", to_json(&self.passwords())),
        };
    }

    fn object_id(&self) -> crate::entra::ObjectId {
        match self.holder {
            Holder::Application => self.application.object_id,
            Holder::ServicePrincipal => self.application.service_principal_id,
        }
    }

    fn passwords(&self) -> Vec<Credential<'_>> {
        self.application
            .passwords(self.holder)
            .iter()
            .filter(|password| password.seen(self.view, self.now))
            .map(|password| Credential::of(password, None))
            .collect()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credential<'a> {
    custom_key_identifier: Option<&'a str>,
    display_name: Option<&'a str>,
    end_date_time: Option<String>,
    hint: Option<&'a str>,
    key_id: crate::entra::KeyId,
    secret_text: Option<&'a str>,
    start_date_time: Option<String>,
}

impl<'a> Credential<'a> {
    fn of(password: &'a Password, secret_text: Option<&'a str>) -> Self {
        Self {
            custom_key_identifier: password.custom_key_identifier.as_deref(),
            display_name: password.display_name.as_deref(),
            end_date_time: password.end.map(timestamp),
            hint: password.hint.as_deref(),
            key_id: password.key_id,
            secret_text,
            start_date_time: password.start.map(timestamp),
        }
    }
}

/// The answer to an add: the only place where the value is ever told.
pub(super) fn added(password: &Password) -> String {
    #[derive(Serialize)]
    struct Added<'a> {
        #[serde(rename = "@odata.context")]
        context: &'static str,
        #[serde(flatten)]
        credential: Credential<'a>,
    }
    to_json(&Added {
        context: "https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.passwordCredential",
        credential: Credential::of(password, Some(password.value.expose_secret())),
    })
}

/// One owner of an application, as a directory object; `name` gives the display name and client
/// ID of a service principal.
pub(super) fn owner(
    owner: &Owner,
    name: Option<(&str, crate::entra::ClientId)>,
) -> serde_json::Value {
    match owner {
        Owner::ServicePrincipal(id) => serde_json::json!({
            "@odata.type": "#microsoft.graph.servicePrincipal",
            "id": id,
            "appId": name.map(|(_, client_id)| client_id),
            "displayName": name.map(|(name, _)| name),
        }),
        Owner::User {
            id,
            display_name,
            user_principal_name,
        } => serde_json::json!({
            "@odata.type": "#microsoft.graph.user",
            "id": id,
            "displayName": display_name,
            "userPrincipalName": user_principal_name,
        }),
    }
}

/// Whole seconds, or seven digits of a fraction where there is one.
fn timestamp(at: DateTime<Utc>) -> String {
    let ticks = at.timestamp_subsec_nanos() / 100;
    let whole = at.format("%Y-%m-%dT%H:%M:%S");
    match ticks {
        0 => format!("{whole}Z"),
        _ => format!("{whole}.{ticks:07}Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_seven_digits_of_a_fraction_or_none() {
        let at = DateTime::from_timestamp(1_631_217_029, 308_638_100).unwrap();
        assert_eq!(timestamp(at), "2021-09-09T19:50:29.3086381Z");
        assert_eq!(
            timestamp(DateTime::from_timestamp(1_631_217_029, 0).unwrap()),
            "2021-09-09T19:50:29Z"
        );
    }
}
