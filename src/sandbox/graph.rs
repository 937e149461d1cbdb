//! Microsoft Graph, as far as applications and their secrets go.

use std::fmt::Write;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use chrono::{DateTime, Utc};

use super::graph_error::GraphError;
use super::odata::{Filter, Query, Unsupported, next_page};
use super::operation::{GraphOperation, Reference};
use super::replica::View;
use super::rules::Permission;
use super::shape::{self, Object};
use super::tenant::{Application, Directory, Holder, Owner};
use super::token::Caller;
use super::wire::Answer;
use crate::entra::TenantId;

/// One call to Graph, whose caller is known.
pub(super) struct Call<'a> {
    pub(super) caller: Caller,
    /// `https://host:port`, as the caller addressed it.
    pub(super) base: &'a str,
    /// The part of the URL after the question mark, as it came.
    pub(super) query: &'a str,
    pub(super) now: DateTime<Utc>,
}

impl Call<'_> {
    /// Carries the operation out.
    pub(super) fn answer(
        &self,
        directory: &mut Directory,
        operation: GraphOperation,
    ) -> Result<Answer, GraphError> {
        match operation {
            GraphOperation::List(holder, query) => {
                let query = understood(holder, query)?;
                self.list(directory, holder, &query)
            }
            GraphOperation::Get(holder, reference, query) => {
                let query = understood(holder, query)?;
                self.get(directory, holder, &reference, &query)
            }
            GraphOperation::Owners(reference) => self.owners(directory, &reference),
            GraphOperation::Add(holder, reference, request) => {
                let place = self.writable(directory, holder, &reference)?;
                let request = request.map_err(|error| GraphError::BadRequest(error.to_string()))?;
                let added = directory.add_password((place, holder), request, self.now)?;
                let answer = Answer::odata(shape::added(&added)).with(
                    header::LOCATION,
                    HeaderValue::from_static("https://graph.microsoft.com"),
                );
                Ok(cost(answer, "1"))
            }
            GraphOperation::Remove(holder, reference, key_id) => {
                let place = self.writable(directory, holder, &reference)?;
                let key_id = key_id.map_err(|error| GraphError::BadRequest(error.to_string()))?;
                directory.remove_password((place, holder), key_id, self.now)?;
                Ok(cost(Answer::empty(StatusCode::NO_CONTENT), "1"))
            }
            GraphOperation::Unknown(segment) => Err(GraphError::NoSuchSegment(segment)),
        }
    }

    fn list(
        &self,
        directory: &mut Directory,
        holder: Holder,
        query: &Query,
    ) -> Result<Answer, GraphError> {
        let may_list = match self.caller.permission {
            Permission::None => false,
            Permission::ReadWriteOwnedBy => directory.rules.owned_by_lists_all,
            Permission::ReadAll | Permission::ReadWriteAll => true,
        };
        if !may_list {
            return Err(GraphError::Denied);
        }
        let view = directory.replicas.for_read();
        let tenant = directory
            .tenants
            .get(&self.caller.tenant_id)
            .ok_or(GraphError::Denied)?;
        let matching = self.matching(directory, &tenant.applications, holder, query, view);
        let select = query.select.as_deref();

        let mut body = context(holder, select, "");
        if query.count {
            let _ = write!(body, ",\"@odata.count\":{}", matching.len());
        }
        let end = query.skip.saturating_add(query.top);
        if end < matching.len() {
            let (base, collection) = (self.base, shape::collection(holder));
            let next = next_page(self.query, end);
            let _ = write!(
                body,
                ",\"@odata.nextLink\":\"{base}/v1.0/{collection}?{next}\""
            );
        }
        body.push_str(",\"value\":[");
        let mut separator = "";
        for application in matching.into_iter().skip(query.skip).take(query.top) {
            body.push_str(separator);
            body.push('{');
            let object = Object {
                application,
                holder,
                publisher_domain: &tenant.domain,
                view,
                now: self.now,
            };
            object.write(&mut body, select);
            body.push('}');
            separator = ",";
        }
        body.push_str("]}");
        Ok(cost(Answer::odata(body), "2"))
    }

    fn matching<'d>(
        &self,
        directory: &'d Directory,
        places: &[usize],
        holder: Holder,
        query: &Query,
        view: View,
    ) -> Vec<&'d Application> {
        let seen = |place: usize| {
            directory
                .applications
                .get(place)
                .filter(|application| application.tenant_id == self.caller.tenant_id)
                .filter(|application| application.seen(view, self.now))
        };
        let named = |wanted: &dyn Fn(&str) -> bool| {
            let all = places.iter().filter_map(|place| seen(*place));
            all.filter(|application| wanted(&application.display_name))
                .collect()
        };
        match &query.filter {
            Filter::All => named(&|_| true),
            Filter::Named(name) => named(&|other| other.eq_ignore_ascii_case(name)),
            Filter::NameStartsWith(start) => {
                let start = start.to_lowercase();
                named(&|name| name.to_lowercase().starts_with(&start))
            }
            Filter::Client(client_id) => directory
                .place_of_client(*client_id)
                .and_then(seen)
                .into_iter()
                .collect(),
            Filter::Object(object_id) => directory
                .place_of_object(*object_id)
                .filter(|(_, of)| *of == holder)
                .and_then(|(place, _)| seen(place))
                .into_iter()
                .collect(),
            Filter::Nothing => Vec::new(),
        }
    }

    fn get(
        &self,
        directory: &mut Directory,
        holder: Holder,
        reference: &Reference,
        query: &Query,
    ) -> Result<Answer, GraphError> {
        let view = directory.replicas.for_read();
        let application = self.readable(directory, holder, reference, view)?;
        let select = query.select.as_deref();
        let object = Object {
            application,
            holder,
            publisher_domain: domain(directory, self.caller.tenant_id),
            view,
            now: self.now,
        };
        let mut body = context(holder, select, "/$entity");
        body.push(',');
        object.write(&mut body, select);
        body.push('}');
        Ok(cost(Answer::odata(body), "1"))
    }

    fn owners(
        &self,
        directory: &mut Directory,
        reference: &Reference,
    ) -> Result<Answer, GraphError> {
        let view = directory.replicas.for_read();
        let application = self.readable(directory, Holder::Application, reference, view)?;
        let owners: Vec<_> = application
            .owners
            .iter()
            .map(|owner| {
                let name = match owner {
                    Owner::ServicePrincipal(id) => directory
                        .place_of_object(*id)
                        .and_then(|(place, _)| directory.applications.get(place))
                        .map(|owner| (owner.display_name.as_str(), owner.client_id)),
                    Owner::User { .. } => None,
                };
                shape::owner(owner, name)
            })
            .collect();
        let body = serde_json::json!({
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#directoryObjects",
            "value": owners,
        });
        Ok(cost(Answer::odata(body.to_string()), "1"))
    }

    /// Finds an application to read it.
    fn readable<'d>(
        &self,
        directory: &'d Directory,
        holder: Holder,
        reference: &Reference,
        view: View,
    ) -> Result<&'d Application, GraphError> {
        if self.caller.permission == Permission::None {
            return Err(GraphError::Denied);
        }
        let place = self.find(directory, holder, reference, view)?;
        Ok(&directory.applications[place])
    }

    /// Finds an application to change it: on the primary, where all changes are made.
    fn writable(
        &self,
        directory: &Directory,
        holder: Holder,
        reference: &Reference,
    ) -> Result<usize, GraphError> {
        if matches!(
            self.caller.permission,
            Permission::None | Permission::ReadAll
        ) {
            return Err(GraphError::Denied);
        }
        let place = self.find(directory, holder, reference, View::Primary)?;
        let caller = Owner::ServicePrincipal(self.caller.service_principal_id);
        let owned = directory.applications[place].owners.contains(&caller);
        if self.caller.permission == Permission::ReadWriteAll || owned {
            Ok(place)
        } else {
            Err(GraphError::Denied)
        }
    }

    fn find(
        &self,
        directory: &Directory,
        holder: Holder,
        reference: &Reference,
        view: View,
    ) -> Result<usize, GraphError> {
        let (place, name) = match reference {
            Reference::Object(id) => {
                let found = directory
                    .place_of_object(*id)
                    .filter(|(_, of)| *of == holder);
                (found.map(|(place, _)| place), id.to_string())
            }
            Reference::Client(id) => (directory.place_of_client(*id), id.to_string()),
            Reference::Malformed(text) => {
                let message = format!("Invalid object identifier '{text}'.");
                return Err(GraphError::BadRequest(message));
            }
        };
        place
            .filter(|place| {
                let application = &directory.applications[*place];
                application.tenant_id == self.caller.tenant_id && application.seen(view, self.now)
            })
            .ok_or(GraphError::NotFound(name))
    }
}

fn understood(holder: Holder, query: Result<Query, Unsupported>) -> Result<Query, GraphError> {
    let query = query.map_err(|error| GraphError::UnsupportedQuery(error.to_string()))?;
    let select = query.select.as_deref().unwrap_or_default();
    match shape::unknown_property(holder, select) {
        None => Ok(query),
        Some(name) => Err(GraphError::NoSuchProperty {
            name: name.to_owned(),
            of: match holder {
                Holder::Application => "application",
                Holder::ServicePrincipal => "servicePrincipal",
            },
        }),
    }
}

/// The opening brace and the context of an answer.
fn context(holder: Holder, select: Option<&[String]>, suffix: &str) -> String {
    let mut body = String::with_capacity(2_048);
    body.push_str("{\"@odata.context\":\"https://graph.microsoft.com/v1.0/$metadata#");
    body.push_str(shape::collection(holder));
    if let Some(select) = select {
        // The names are the caller's own text.
        let names = select.join(",");
        body.push('(');
        body.extend(
            names
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == ','),
        );
        body.push(')');
    }
    body.push_str(suffix);
    body.push('"');
    body
}

fn domain(directory: &Directory, tenant_id: TenantId) -> &str {
    directory
        .tenants
        .get(&tenant_id)
        .map_or("", |tenant| tenant.domain.as_str())
}

/// What the call counts for against the throttling limits.
fn cost(answer: Answer, units: &'static str) -> Answer {
    answer.with(
        HeaderName::from_static("x-ms-resource-unit"),
        HeaderValue::from_static(units),
    )
}
