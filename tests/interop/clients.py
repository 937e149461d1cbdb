"""The Azure CLI and MSAL for Python against a sandbox.

Called by `run`, with the binary to try as its only argument.
"""

import contextlib
import datetime
import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import msal
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The sandbox's replicas lag by seconds, at most by a minute.
PATIENCE = 120


def main(binary):
    with tempfile.TemporaryDirectory(prefix="keywheel-interop-") as folder:
        folder = pathlib.Path(folder)
        make_certificates(folder)
        # Where requests, which both clients stand on, looks for the CA before anywhere else.
        os.environ["REQUESTS_CA_BUNDLE"] = str(folder / "ca.pem")
        os.environ["NO_PROXY"] = "127.0.0.1"
        with sandbox(binary, folder) as offer:
            azure_cli(offer, folder)
            msal_for_python(offer)
    print("Microsoft's clients work against the sandbox, unchanged.")


# --- the clients ---------------------------------------------------------------------------------


def azure_cli(offer, folder):
    """Signs in as the rotator and manages the secrets of another application."""
    url, tenant = offer["url"], offer["tenant_id"]
    rotator, target = offer["applications"][:2]
    az = AzureCli(folder)
    az("cloud", "register", "-n", "Sandbox", "--skip-endpoint-discovery",
       "--endpoint-active-directory", url,
       "--endpoint-active-directory-resource-id", f"{url}/arm/",
       "--endpoint-active-directory-graph-resource-id", f"{url}/",
       "--endpoint-microsoft-graph-resource-id", f"{url}/",
       "--endpoint-resource-manager", f"{url}/",
       "--endpoint-management", f"{url}/",
       "--suffix-keyvault-dns", ".vault.local")
    az("cloud", "set", "-n", "Sandbox")
    az("config", "set", "core.instance_discovery=false")

    def login(secret):
        return ("login", "--service-principal", "-u", rotator["client_id"], "-p", secret,
                "--tenant", tenant, "--allow-no-subscriptions")

    refused = az.fails(*login("not-the-secret"))
    check("AADSTS7000215" in refused, "az login says AADSTS7000215 for a wrong secret", refused)
    az(*login(rotator["secret"]))
    done("az login --service-principal")

    names = {application["displayName"] for application in az("ad", "app", "list", "--all")}
    offered = {application["display_name"] for application in offer["applications"]}
    check(offered <= names, "az ad app list", names)

    of_target = ("--id", target["client_id"])

    def listed():
        credentials = az("ad", "app", "credential", "list", *of_target)
        return {credential["keyId"]: credential for credential in credentials}

    before = listed()
    check(set(before) == {target["key_id"]}, "az ad app credential list", before)
    check(before[target["key_id"]]["hint"] == target["secret"][:3], "… with the hint", before)

    added = az("ad", "app", "credential", "reset", *of_target, "--append",
               "--display-name", "interop", "--end-date", "2099-01-01")
    check(added["appId"] == target["client_id"], "az ad app credential reset --append", added)
    new = eventually(lambda: next((credential for credential in listed().values()
                                   if credential["displayName"] == "interop"), None))
    check(new["hint"] == added["password"][:3], "… and it is listed", new)
    check(new["endDateTime"].startswith("2099-01-01"), "… with the end asked for", new)
    scope = [f"{url}/.default"]
    eventually(lambda: "access_token" in sign_in(offer, target, added["password"], scope))
    done("… and it signs in")

    az("ad", "app", "credential", "delete", *of_target, "--key-id", new["keyId"])
    eventually(lambda: new["keyId"] not in listed())
    done("az ad app credential delete")
    again = az.fails("ad", "app", "credential", "delete", *of_target, "--key-id", new["keyId"])
    check("No password credential found with keyId" in again, "… a second time is refused", again)

    raw = az("rest", "--method", "GET", "--resource", f"{url}/",
             "--url", f"{url}/v1.0/applications(appId='{target['client_id']}')")
    check(raw["id"] == target["object_id"], "az rest", raw)


def msal_for_python(offer):
    """Signs in as an application that rotates itself, as its consumers do."""
    target = offer["applications"][-1]
    scope = ["https://graph.microsoft.com/.default"]
    token = sign_in(offer, target, target["secret"], scope)
    check(token.get("token_type") == "Bearer", "MSAL signs in", token.get("error_description"))
    refused = sign_in(offer, target, "not-the-secret", scope)
    check(refused.get("error_codes") == [7000215], "MSAL tells a wrong secret", refused)


def sign_in(offer, application, secret, scope):
    """A token from an application object of its own, so that no cache answers."""
    client = msal.ConfidentialClientApplication(
        application["client_id"],
        client_credential=secret,
        authority=f"{offer['url']}/{offer['tenant_id']}",
        instance_discovery=False,
    )
    return client.acquire_token_for_client(scope)


class AzureCli:
    """`az` with a configuration folder of its own."""

    def __init__(self, folder):
        self.program = pathlib.Path(sys.executable).parent / "az"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AZURE_CONFIG_DIR": str(folder / "azure"),
            "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "REQUESTS_CA_BUNDLE": os.environ["REQUESTS_CA_BUNDLE"],
            "NO_PROXY": os.environ["NO_PROXY"],
        }

    def __call__(self, *arguments):
        ran = self.run(arguments)
        command = " ".join(arguments[:4])
        check(ran.returncode == 0, None, f"az {command} failed: {ran.stderr}")
        return json.loads(ran.stdout) if ran.stdout.strip() else None

    def fails(self, *arguments):
        ran = self.run(arguments)
        check(ran.returncode != 0, None, f"az {' '.join(arguments[:4])} should have failed")
        return ran.stderr

    def run(self, arguments):
        return subprocess.run([self.program, *arguments, "-o", "json"], env=self.environment,
                              capture_output=True, text=True, timeout=PATIENCE, check=False)


# --- the sandbox ---------------------------------------------------------------------------------


@contextlib.contextmanager
def sandbox(binary, folder):
    """Starts the sandbox on a free port, and ends it by its process ID."""
    process = subprocess.Popen(
        [binary, "sandbox", "--listen", "127.0.0.1:0", "--apps", "3", "-o", "json",
         "--tls-cert", folder / "leaf.pem", "--tls-key", folder / "leaf.key"],
        stdout=subprocess.PIPE, text=True)
    try:
        yield read_offer(process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_offer(process):
    """The first JSON document on standard output, on one line or many."""
    text = ""
    for line in process.stdout:
        text += line
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(text)
    sys.exit(f"the sandbox ended with code {process.wait()} before it had offered anything")


def make_certificates(folder):
    """A root, and a certificate for 127.0.0.1 and localhost."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Keywheel interop root")])
    root = (certificate(root_name, root_name, root_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .sign(root_key, hashes.SHA256()))

    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (certificate(leaf_name, root_name, leaf_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(root_key, hashes.SHA256()))

    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(pem))
    (folder / "leaf.key").write_bytes(leaf_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (folder / "leaf.key").chmod(0o600)


def certificate(subject, issuer, public_key):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1)))


def key_usage(signs_certificates):
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False)


# --- telling -------------------------------------------------------------------------------------


def eventually(attempt):
    """What `attempt` says once it says anything, as replicas lag."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if result := attempt():
            return result
        time.sleep(0.5)
    raise SystemExit(f"gave up after {PATIENCE} seconds")


def check(holds, what, found):
    """Ends the run unless it holds; `what` is told once it does."""
    if not holds:
        raise SystemExit(f"FAILED: {what or ''}\n{found}")
    if what:
        done(what)


def done(what):
    print(f"ok  {what}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
