//! Microsoft Graph: reading an application, adding and removing its secrets.

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde_json::json;

use super::Answer;
use super::application::{Application, Minted, application, minted, passwords, refusal};
use super::cloud::below;
use super::endpoint::Connection;
use super::fault::{Fault, FaultKind, Nonsense, Operation};
use super::id::{ClientId, KeyId, ObjectId};
use super::token::Token;
use super::wire::{Call, Entra, Received};

const FIELDS: &str = "id,appId,displayName,signInAudience,passwordCredentials";

impl Entra {
    /// The application of this client ID; `None`: the replica that was asked does not know it.
    ///
    /// It is addressed by its key and not by a filter, which costs twice as much and takes the
    /// right to list applications.
    pub async fn find_application(
        &self,
        token: &Token,
        client_id: ClientId,
    ) -> Result<Option<Answer<Application>>, Fault> {
        let path = [&*by_client_id("applications", client_id)];
        let found = self.read(token, &path, FIELDS, application).await;
        match found {
            Ok(found) if found.value.client_id != client_id => Err(mismatch(found)),
            Err(fault) if fault.kind == FaultKind::ApplicationMissing => Ok(None),
            found => found.map(Some),
        }
    }

    /// The application of this object ID.
    pub async fn application(
        &self,
        token: &Token,
        object_id: ObjectId,
    ) -> Result<Answer<Application>, Fault> {
        let path = ["applications", &object_id.to_string()];
        match self.read(token, &path, FIELDS, application).await {
            Ok(found) if found.value.object_id != object_id => Err(mismatch(found)),
            found => found,
        }
    }

    /// Whether the secret sits on the service principal, which Keywheel does not rotate, and not
    /// on the application. A tenant without that service principal answers no.
    pub async fn service_principal_holds(
        &self,
        token: &Token,
        client_id: ClientId,
        key_id: KeyId,
    ) -> Result<bool, Fault> {
        let path = [&*by_client_id("servicePrincipals", client_id)];
        let fields = "id,passwordCredentials";
        match self.read(token, &path, fields, passwords).await {
            Ok(found) => Ok(found.value.iter().any(|held| held.key_id == key_id)),
            Err(fault) if fault.kind == FaultKind::ApplicationMissing => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Adds a secret. This is not idempotent: see [`Fault::made_nothing`].
    ///
    /// `ends_at` is always sent: without it Entra gives two years, which policies forbid.
    pub async fn add_password(
        &self,
        token: &Token,
        object_id: ObjectId,
        name: &str,
        ends_at: DateTime<Utc>,
    ) -> Result<Answer<Minted>, Fault> {
        let ends_at = ends_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let body = json!({"passwordCredential": {"displayName": name, "endDateTime": ends_at}});
        let received = self
            .change(token, Operation::Add, object_id, "addPassword", &body)
            .await?;
        let minted = minted(&received).map_err(|it| received.nonsense(it))?;
        Ok(received.brought(minted))
    }

    /// Removes a secret by its Key ID. That Graph knows no such Key ID may mean that it is gone,
    /// or that it has not yet arrived at the replica that was asked.
    pub async fn remove_password(
        &self,
        token: &Token,
        object_id: ObjectId,
        key_id: KeyId,
    ) -> Result<Answer<()>, Fault> {
        let body = json!({"keyId": key_id});
        let received = self
            .change(token, Operation::Remove, object_id, "removePassword", &body)
            .await?;
        // A portal that answers 200 to everything has removed nothing.
        if received.status() != StatusCode::NO_CONTENT {
            return Err(received.nonsense(Nonsense::NotJson));
        }
        Ok(received.brought(()))
    }

    async fn change(
        &self,
        token: &Token,
        during: Operation,
        object_id: ObjectId,
        action: &str,
        body: &serde_json::Value,
    ) -> Result<Received, Fault> {
        self.turn_to_write(token).await;
        let path = ["applications", &object_id.to_string(), action];
        self.graph(token, during, &path, |client, url| {
            client.post(url).json(body)
        })
        .await
    }

    pub(super) async fn read<T>(
        &self,
        token: &Token,
        path: &[&str],
        fields: &str,
        parse: impl FnOnce(&Received) -> Result<T, Nonsense>,
    ) -> Result<Answer<T>, Fault> {
        let received = self
            .graph(token, Operation::Read, path, |client, url| {
                client.get(url).query(&[("$select", fields)])
            })
            .await?;
        let value = parse(&received).map_err(|it| received.nonsense(it))?;
        Ok(received.brought(value))
    }

    async fn graph(
        &self,
        token: &Token,
        during: Operation,
        path: &[&str],
        request: impl FnOnce(&Client, reqwest::Url) -> RequestBuilder,
    ) -> Result<Received, Fault> {
        let endpoint = self.endpoint(&token.cloud, during)?;
        let version = below(&endpoint.cloud.graph, &["v1.0"]);
        let url = below(&version, path);
        let tenant = token.tenant_id;
        let call = Call { during, tenant };
        let received = self
            .send(call, endpoint, Connection::Pooled, |client| {
                request(client, url).bearer_auth(token.value.expose_secret())
            })
            .await?;
        if received.status().is_success() {
            Ok(received)
        } else {
            Err(received.fault(refusal(&received)))
        }
    }
}

/// OData's address of an object by its alternate key.
fn by_client_id(collection: &str, client_id: ClientId) -> String {
    format!("{collection}(appId='{client_id}')")
}

fn mismatch<T>(answer: Answer<T>) -> Fault {
    Fault {
        kind: FaultKind::Nonsense(Nonsense::Mismatch),
        during: Operation::Read,
        status: Some(StatusCode::OK.as_u16()),
        client_request_id: Some(answer.client_request_id),
    }
}
