//! The clouds that Entra runs in, each with a token endpoint and a Graph of its own.

use reqwest::Url;

/// A cloud: where its tenants sign in, and where its Graph is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// How connections refer to it.
    pub name: String,
    /// Base address of the token endpoint.
    pub login: Url,
    /// Base address of Graph.
    pub graph: Url,
    /// The only certificate authorities that are trusted for it; the host's where not given.
    pub ca_pem: Option<Vec<u8>>,
}

/// An address or certificate that no cloud can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudFault {
    /// It can't be read as an address.
    #[error("`{field}` of cloud {cloud} is not an address such as https://login.example.com")]
    NotAnAddress {
        /// Of which cloud.
        cloud: String,
        /// `login` or `graph`.
        field: &'static str,
    },
    /// Secrets and tokens would cross the network in the clear.
    #[error("`{field}` of cloud {cloud} must begin with https:// (http:// is for loopback only)")]
    NotHttps {
        /// Of which cloud.
        cloud: String,
        /// `login` or `graph`.
        field: &'static str,
    },
    /// A base address has no user, query or fragment.
    #[error("`{field}` of cloud {cloud} may not carry a user, a query or a fragment")]
    NotABase {
        /// Of which cloud.
        cloud: String,
        /// `login` or `graph`.
        field: &'static str,
    },
    /// No certificate in it.
    #[error("`ca_file` of cloud {cloud} holds no certificate in PEM form")]
    NoCertificate {
        /// Of which cloud.
        cloud: String,
    },
}

/// Name, login and Graph of the built-in clouds, as Microsoft documents its deployments.
const BUILT_IN: [(&str, &str, &str); 4] = [
    (
        "public",
        "https://login.microsoftonline.com",
        "https://graph.microsoft.com",
    ),
    (
        "usgov",
        "https://login.microsoftonline.us",
        "https://graph.microsoft.us",
    ),
    (
        "dod",
        "https://login.microsoftonline.us",
        "https://dod-graph.microsoft.us",
    ),
    (
        "china",
        "https://login.chinacloudapi.cn",
        "https://microsoftgraph.chinacloudapi.cn",
    ),
];

impl Cloud {
    /// A cloud whose addresses are HTTPS, or HTTP on loopback.
    pub fn new(
        name: &str,
        login: &str,
        graph: &str,
        ca_pem: Option<Vec<u8>>,
    ) -> Result<Self, CloudFault> {
        if let Some(pem) = &ca_pem {
            certificates(pem).ok_or_else(|| CloudFault::NoCertificate {
                cloud: name.to_owned(),
            })?;
        }
        Ok(Self {
            name: name.to_owned(),
            login: base(name, "login", login)?,
            graph: base(name, "graph", graph)?,
            ca_pem,
        })
    }

    /// The built-in clouds: `public`, `usgov`, `dod` and `china`.
    pub fn built_in() -> impl Iterator<Item = Self> {
        BUILT_IN
            .iter()
            .filter_map(|(name, login, graph)| Self::new(name, login, graph, None).ok())
    }

    /// What a token for this cloud's Graph is asked for.
    pub fn scope(&self) -> String {
        format!("{}/.default", self.graph.as_str().trim_end_matches('/'))
    }

    /// Whether nothing of it leaves this host, and nothing is encrypted: a sandbox.
    pub(super) fn is_plain(&self) -> bool {
        self.login.scheme() == "http" && self.graph.scheme() == "http"
    }

    /// Whether every address of it is HTTPS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.login.scheme() == "https" && self.graph.scheme() == "https"
    }
}

/// The certificates of a PEM bundle; `None` where there are none, or one is damaged.
pub(super) fn certificates(pem: &[u8]) -> Option<Vec<reqwest::Certificate>> {
    reqwest::Certificate::from_pem_bundle(pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
}

/// `base` with `segments` below it, each of them percent-encoded.
pub(super) fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // Only addresses that are no base refuse, and those are refused when the cloud is made.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

fn base(cloud: &str, field: &'static str, text: &str) -> Result<Url, CloudFault> {
    let cloud = || cloud.to_owned();
    let not_an_address = || CloudFault::NotAnAddress {
        cloud: cloud(),
        field,
    };
    let url = Url::parse(text).map_err(|_| not_an_address())?;
    if !url.has_host() {
        return Err(not_an_address());
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => {
            return Err(CloudFault::NotHttps {
                cloud: cloud(),
                field,
            });
        }
    }
    let extras = url.query().is_some() || url.fragment().is_some();
    if extras || !url.username().is_empty() || url.password().is_some() {
        return Err(CloudFault::NotABase {
            cloud: cloud(),
            field,
        });
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j1_each_built_in_cloud_has_its_own_scope() {
        let scopes: Vec<(String, String)> = Cloud::built_in()
            .map(|cloud| (cloud.name.clone(), cloud.scope()))
            .collect();
        assert_eq!(scopes.len(), BUILT_IN.len());
        assert!(scopes.contains(&(
            "china".into(),
            "https://microsoftgraph.chinacloudapi.cn/.default".into()
        )));
    }

    #[test]
    fn plain_http_is_for_loopback_alone() {
        for fine in [
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost",
            "https://a.example/base/",
        ] {
            assert!(Cloud::new("lab", fine, fine, None).is_ok(), "{fine}");
        }
        for wrong in [
            "http://login.example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "ftp://localhost",
            "login.example.com",
            "https://u:p@a.example",
            "https://a.example/?q",
        ] {
            assert!(
                Cloud::new("lab", wrong, "https://a.example", None).is_err(),
                "{wrong}"
            );
        }
        assert!(Cloud::new("lab", "https://a", "https://b", Some(b"no".to_vec())).is_err());
    }

    #[test]
    fn paths_go_below_the_base() {
        let base = Url::parse("https://a.example/base/").unwrap();
        assert_eq!(
            below(&base, &["v1.0", "applications(appId='x y')"]).as_str(),
            "https://a.example/base/v1.0/applications(appId='x%20y')"
        );
    }
}
