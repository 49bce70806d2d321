"""The table of hosts that deserve a second look, as data: where anybody can publish, and where anybody can receive.

Sources: the private section of the public suffix list (publicsuffix.org) for hosting suffixes; the vendors' own
documents for the form of names and paths (Amazon S3 "virtual hosting of buckets", Cloud Storage "request endpoints",
Azure "storage account endpoints", Slack "incoming webhooks", Discord "webhook resource", Telegram "Bot API"); the
published uses of a file API as a drop with the attacker's own key (Rehberger 2025, PromptArmor 2026).
Package registries are left out: what is published there is what an agent asks for.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shared:
    """A suffix below which names belong to anybody.

    With `owner`, one label below the suffix is one owner's, and a wildcard below that label reaches nobody else.
    """

    suffix: str
    what: str
    safer: str
    owner: bool = True


@dataclass(frozen=True, slots=True)
class Open:
    """A host whose paths belong to anybody: the first `segments` of a path, written out, name one owner.

    Zero segments: no path makes it safe, because the host fetches or serves whatever it is asked for.
    """

    host: str
    what: str
    segments: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """A host that keeps or passes on what it is sent, for whoever's key or path it was sent with.

    `stores` are the paths that keep uploads even for our own key. With `segments`, the secret is the path itself:
    so many segments, written out, name one receiver. `reading`: a GET is enough to leave data.
    """

    host: str
    what: str
    stores: tuple[str, ...] = ()
    segments: int = 0
    reading: bool = False


_BUCKET = "name the host of your bucket"
_ACCOUNT = "name the host of your account"
_APP = "name the host of the app"

SHARED: tuple[Shared, ...] = (
    Shared("amazonaws.com", "buckets, queues and functions of any AWS account", _BUCKET + " or service", owner=False),
    Shared("amazonaws.com.cn", "buckets and queues of any AWS account", _BUCKET + " or service", owner=False),
    Shared("on.aws", "functions of any AWS account", "name the host of your function", owner=False),
    Shared("api.aws", "services of any AWS account", "name the host of your service", owner=False),
    Shared("cloudfront.net", "sites of any AWS account", "name the host of the distribution"),
    Shared("blob.core.windows.net", "storage of any Azure account", _ACCOUNT),
    Shared("file.core.windows.net", "storage of any Azure account", _ACCOUNT),
    Shared("queue.core.windows.net", "queues of any Azure account", _ACCOUNT),
    Shared("table.core.windows.net", "tables of any Azure account", _ACCOUNT),
    Shared("dfs.core.windows.net", "storage of any Azure account", _ACCOUNT),
    Shared("web.core.windows.net", "sites of any Azure account", _ACCOUNT),
    Shared("azurewebsites.net", "apps of any Azure account", _APP),
    Shared("azurefd.net", "sites of any Azure account", _APP),
    Shared("cloudapp.azure.com", "machines of any Azure account", "name the host of the machine", owner=False),
    Shared("servicebus.windows.net", "queues of any Azure account", _ACCOUNT),
    Shared("devtunnels.ms", "tunnels to anybody's machine", "name the host of your tunnel", owner=False),
    Shared("storage.googleapis.com", "buckets of any Google Cloud project", _BUCKET, owner=False),
    Shared("run.app", "services of any Google Cloud project", "name the host of the service", owner=False),
    Shared("cloudfunctions.net", "functions of any Google Cloud project", "name the host of the function"),
    Shared("appspot.com", "apps of any Google Cloud project", _APP, owner=False),
    Shared("googleusercontent.com", "content of any Google account", "name the host that serves the content"),
    Shared("firebaseio.com", "databases of any Firebase project", "name the host of the database"),
    Shared("firebaseapp.com", "sites of any Firebase project", _APP),
    Shared("firebasestorage.app", "buckets of any Firebase project", _BUCKET),
    Shared("web.app", "sites of any Firebase project", _APP),
    Shared("translate.goog", "any site of the web, fetched by Google", "leave it out", owner=False),
    Shared("r2.cloudflarestorage.com", "buckets of any Cloudflare account", _ACCOUNT),
    Shared("r2.dev", "buckets of any Cloudflare account", _BUCKET),
    Shared("workers.dev", "code of any Cloudflare account", _APP),
    Shared("pages.dev", "sites of any Cloudflare account", _APP),
    Shared("trycloudflare.com", "tunnels to anybody's machine", "leave it out"),
    Shared("digitaloceanspaces.com", "buckets of any DigitalOcean account", _BUCKET, owner=False),
    Shared("ondigitalocean.app", "apps of any DigitalOcean account", _APP),
    Shared("backblazeb2.com", "buckets of any Backblaze account", _BUCKET, owner=False),
    Shared("wasabisys.com", "buckets of any Wasabi account", _BUCKET, owner=False),
    Shared("githubusercontent.com", "content of any GitHub account", "name raw.githubusercontent.com, with `paths`"),
    Shared("github.io", "sites of any GitHub account", "name the host of the site"),
    Shared("app.github.dev", "tunnels to anybody's codespace", "leave it out"),
    Shared("gitlab.io", "sites of any GitLab account", "name the host of the site"),
    Shared("vercel.app", "apps of any Vercel account", _APP),
    Shared("netlify.app", "sites of any Netlify account", _APP),
    Shared("herokuapp.com", "apps of any Heroku account", _APP),
    Shared("onrender.com", "apps of any Render account", _APP),
    Shared("fly.dev", "apps of any Fly account", _APP),
    Shared("up.railway.app", "apps of any Railway account", _APP),
    Shared("deno.dev", "code of any Deno account", _APP),
    Shared("replit.app", "apps of any Replit account", _APP),
    Shared("hf.space", "apps of any Hugging Face account", _APP),
    Shared("supabase.co", "databases of any Supabase project", "name the host of the project"),
    Shared("ngrok.io", "tunnels to anybody's machine", "name the host of your tunnel"),
    Shared("ngrok.app", "tunnels to anybody's machine", "name the host of your tunnel"),
    Shared("ngrok-free.app", "tunnels to anybody's machine", "name the host of your tunnel"),
    Shared("ngrok-free.dev", "tunnels to anybody's machine", "name the host of your tunnel"),
    Shared("loca.lt", "tunnels to anybody's machine", "leave it out"),
    Shared("sourceforge.net", "sites of any SourceForge project", "name the host of the project", owner=False),
    Shared("sharepoint.com", "files of any Microsoft 365 tenant", "name the host of your tenant"),
    Shared("atlassian.net", "sites of any Atlassian customer", "name the host of your site"),
    Shared("dropboxusercontent.com", "files of any Dropbox account", "leave it out", owner=False),
    Shared("sentry.io", "projects of anybody, whose ingestion key is public", "name the host of your organisation"),
    Shared("datadoghq.com", "intakes for anybody's key", "name the host that your client uses", owner=False),
    Shared("pipedream.net", "endpoints that anybody can read", "name the host of your endpoint"),
    Shared("webhook.office.com", "webhooks of any Microsoft 365 tenant", "name the host of your tenant"),
)

_BY_BUCKET, _BY_OWNER = "buckets of any account", "repositories of any account"

OPEN: tuple[Open, ...] = (
    Open("storage.googleapis.com", "buckets of any Google Cloud project", 1),
    Open("storage.cloud.google.com", "buckets of any Google Cloud project", 1),
    Open("firebasestorage.googleapis.com", "buckets of any Firebase project", 3),
    Open("s3.amazonaws.com", _BY_BUCKET, 1),
    Open("raw.githubusercontent.com", "files of any GitHub account", 1),
    Open("gist.githubusercontent.com", "gists of any GitHub account", 1),
    Open("gist.github.com", "gists of any GitHub account", 1),
    Open("github.com", _BY_OWNER, 1),
    Open("codeload.github.com", _BY_OWNER, 1),
    Open("gitlab.com", _BY_OWNER, 1),
    Open("bitbucket.org", _BY_OWNER, 1),
    Open("codeberg.org", _BY_OWNER, 1),
    Open("huggingface.co", "models and files of any account", 1),
    Open("drive.google.com", "files of any Google account"),
    Open("docs.google.com", "documents and forms of any Google account", 3),
    Open("script.google.com", "code of any Google account", 3),
    Open("sites.google.com", "sites of any Google account", 2),
    Open("translate.google.com", "any site of the web, fetched by Google"),
    Open("www.dropbox.com", "files of any Dropbox account"),
    Open("web.archive.org", "any site of the web"),
    Open("r.jina.ai", "any site of the web, fetched for the client"),
)

_KEY = "it serves whoever's key it is sent"

DROPS: tuple[Drop, ...] = (
    Drop("api.anthropic.com", _KEY, ("/v1/files/**", "/v1/skills/**")),
    Drop("api.openai.com", _KEY, ("/v1/files/**", "/v1/uploads/**", "/v1/vector_stores/**", "/v1/containers/**")),
    Drop("generativelanguage.googleapis.com", _KEY, ("/upload/**", "/v1beta/files/**")),
    Drop("api.mistral.ai", _KEY, ("/v1/files/**",)),
    Drop("api.x.ai", _KEY, ("/v1/files/**",)),
    Drop("api.groq.com", _KEY, ("/openai/v1/files/**",)),
    Drop("openrouter.ai", _KEY),
    Drop("api.github.com", _KEY, ("/gists/**",)),
    Drop("uploads.github.com", _KEY),
    Drop("github.com", "anybody's token can push to anybody's repository"),
    Drop("gitlab.com", "anybody's token can push to anybody's repository"),
    Drop("bitbucket.org", "anybody's token can push to anybody's repository"),
    Drop("huggingface.co", "anybody's token can push to anybody's repository"),
    Drop("www.googleapis.com", _KEY, ("/upload/**",)),
    Drop("api.dropboxapi.com", _KEY),
    Drop("content.dropboxapi.com", _KEY, ("/2/files/**",)),
    Drop("slack.com", _KEY, ("/api/files.upload/**",)),
    Drop("claude.ai", "it takes uploads and shares links for any account"),
    Drop("chatgpt.com", "it takes uploads and shares links for any account"),
    Drop("api.segment.io", "its ingestion key is public"),
    Drop("api.mixpanel.com", "its ingestion key is public"),
    Drop("http-intake.logs.datadoghq.com", "it logs for whoever's key it is sent"),
    Drop("www.google-analytics.com", "its ingestion key is public", reading=True),
    Drop("hooks.slack.com", "the secret of a webhook is its path", segments=4),
    Drop("discord.com", "the secret of a webhook is its path", segments=4),
    Drop("discordapp.com", "the secret of a webhook is its path", segments=4),
    Drop("api.telegram.org", "the token of a bot is its path", segments=1, reading=True),
    Drop("hooks.zapier.com", "the secret of a webhook is its path", segments=4, reading=True),
    Drop("maker.ifttt.com", "the key of a webhook is its path", segments=5, reading=True),
    Drop("webhook.site", "anybody can make an endpoint and read what it was sent", segments=1, reading=True),
    Drop("pastebin.com", "anybody can read what is pasted"),
    Drop("transfer.sh", "anybody can read what is uploaded"),
    Drop("file.io", "anybody can read what is uploaded"),
    Drop("0x0.st", "anybody can read what is uploaded"),
)

# How paths end on which a POST only reads: git's smart protocol, its half for fetching (git help gitprotocol-http).
READING_ENDINGS = (("git-upload-pack",), ("info", "refs"))

# Where clouds hand out the machine's own credentials.
METADATA_ADDRESSES = ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")
