//! What the SDK asks for: tools, calls of them, resources.
//!
//! A refused call is an answer that the assistant can read: the problem as JSON, marked as an
//! error. What names no tool and no resource is an error of the protocol. A handler that panics
//! answers too: the SDK would wait for it for good.

use super::tool_answer::{Marked, ToolAnswer};
use super::tools::{self, EXPAND};
use crate::http::codes::Code;
use crate::http::problem::Problem;
use crate::http::{App, catalogue, dead_letters, metrics, middleware, status};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest,
    CustomResult, ErrorCode, Implementation, JsonObject, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    Resource, ResourceContents, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use tally_engine::engine::MetricState;

const INSTRUCTIONS: &str = "\
Each tool is a metric, counted from an event log; calls change nothing. The text of an answer has \
`meta` (window, position, history) and `warnings`: what the numbers rest on. A `window` such as \
\"2h\" or \"7d\" ends now unless `to` says otherwise; `bucket` adds a series; `expand` with \
[\"names\"] adds names beside ids. A refused call says in `errors` what to correct.";

/// What can be read: URI, name, description.
const RESOURCES: [(&str, &str, &str); 5] = [
    ("tally://metrics", "metrics", "All metrics: schemas, examples, state, cost and retention"),
    (
        "tally://dead-letters",
        "dead-letters",
        "The newest records that could not be events, and why",
    ),
    ("tally://status", "status", "What the engine does now: readiness, lag, commits, memory"),
    ("tally://users", "users", "The first users of the catalogue"),
    ("tally://products", "products", "The first products of the catalogue"),
];

/// The methods that are served and have params. The SDK takes a request whose params do not fit for
/// one that it does not know.
const WITH_PARAMS: [&str; 5] =
    ["initialize", "resources/list", "resources/read", "tools/call", "tools/list"];

const JSON: &str = "application/json";

/// Answers one request of an assistant.
#[derive(Clone)]
pub(super) struct Assistant {
    app: Arc<App>,
    marked: Arc<Marked>,
}

impl ServerHandler for Assistant {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_resources().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("tally", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let list = async {
            let all = self.app.engine.metrics();
            let answering = all.iter().filter(|info| info.state == MetricState::Active);
            Ok::<_, ErrorData>(ListToolsResult::with_all_items(
                answering.map(tools::tool).collect(),
            ))
        };
        guarded(list).await
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        guarded(self.call(request)).await.map(CallToolResponse::Complete)
    }

    /// Asked for by the SDK alone, which compares headers with what a tool takes.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.app.engine.metric(name).map(|info| tools::tool(&info))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = RESOURCES.iter().map(|(uri, name, description)| {
            Resource::new(*uri, *name).with_description(*description).with_mime_type(JSON)
        });
        Ok(ListResourcesResult::with_all_items(resources.collect()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        guarded(self.read(request.uri)).await.map(ReadResourceResponse::Complete)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = request.method.as_str();
        if WITH_PARAMS.contains(&method) {
            let detail = format!("the params of {method} are missing, or of another shape");
            return Err(ErrorData::invalid_params(detail, None));
        }
        let detail = format!("there is no method {method:?}");
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, detail, None))
    }
}

impl Assistant {
    /// For one request, whose answer is kept in `marked`.
    pub(super) fn new(app: Arc<App>, marked: Arc<Marked>) -> Assistant {
        Assistant { app, marked }
    }

    async fn call(&self, request: CallToolRequestParams) -> Result<CallToolResult, ErrorData> {
        let problem = match self.answer(request).await {
            Ok(answer) => return Ok(self.marks_of(answer)),
            Err(problem) => problem,
        };
        let is_unknown = problem.is(Code::MetricNotFound);
        let (detail, text) = self.told(problem);
        if is_unknown {
            return Err(ErrorData::invalid_params(detail, serde_json::from_str(&text).ok()));
        }
        Ok(CallToolResult::error(vec![ContentBlock::text(text)]))
    }

    /// Answers a call as a `POST /api/metrics` of it.
    async fn answer(&self, request: CallToolRequestParams) -> Result<ToolAnswer, Problem> {
        let started = Instant::now();
        let CallToolRequestParams { name, arguments, .. } = request;
        let mut params = arguments.unwrap_or_default();
        let mut question = JsonObject::new();
        if params.contains_key(EXPAND) && !self.has_own_expand(&name) {
            question.extend(params.remove(EXPAND).map(|wanted| (EXPAND.to_owned(), wanted)));
        }
        question.insert("name".into(), Value::from(name));
        question.insert("params".into(), Value::Object(params));
        let body = Bytes::from(Value::Object(question).to_string());
        let answer = metrics::answer_body(&self.app, &body).await?;
        ToolAnswer::of(&self.app, answer, started).await
    }

    fn has_own_expand(&self, name: &str) -> bool {
        self.app.engine.metric(name).is_some_and(|info| tools::has_own_expand(&info))
    }

    /// Keeps an answer; what stands for it until the reply is written.
    fn marks_of(&self, answer: ToolAnswer) -> CallToolResult {
        let mark = self.marked.mark().to_owned();
        let mut result = CallToolResult::success(vec![ContentBlock::text(mark.clone())]);
        if answer.is_structured() {
            let content = JsonObject::from_iter([(mark, Value::Null)]);
            result.structured_content = Some(Value::Object(content));
        }
        self.marked.keep(answer);
        result
    }

    async fn read(&self, uri: String) -> Result<ReadResourceResult, ErrorData> {
        let answer = match self.resource(&uri).await {
            Some(Ok(response)) => self.whole(response).await,
            Some(Err(problem)) => Err(problem),
            None => {
                let known: Vec<&str> = RESOURCES.iter().map(|(known, ..)| *known).collect();
                let detail =
                    format!("there is no resource {uri:?}; there are {}", known.join(", "));
                return Err(ErrorData::resource_not_found(detail, None));
            }
        };
        let answer = answer.map_err(|problem| {
            let (detail, text) = self.told(problem);
            ErrorData::internal_error(detail, serde_json::from_str(&text).ok())
        })?;
        let contents = ResourceContents::text(self.marked.mark(), uri).with_mime_type(JSON);
        self.marked.keep(answer);
        Ok(ReadResourceResult::new(vec![contents]))
    }

    /// What a GET of the same list gives; `None`: there is no such resource.
    async fn resource(&self, uri: &str) -> Option<Result<Response, Problem>> {
        let app = State(Arc::clone(&self.app));
        let (headers, query) = (HeaderMap::new(), Ok(Query(Vec::new())));
        Some(match uri {
            "tally://metrics" => metrics::list(app, headers).await,
            "tally://dead-letters" => dead_letters::list(app, headers, query).await,
            "tally://status" => Ok(status::show(app).await),
            "tally://users" => catalogue::users(app, headers, query).await,
            "tally://products" => catalogue::products(app, headers, query).await,
            _ => return None,
        })
    }

    /// The text of an answer that is in memory already.
    async fn whole(&self, response: Response) -> Result<ToolAnswer, Problem> {
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        let body = body.map_err(|fault| {
            tracing::error!(%fault, "a resource cannot be read");
            Problem::internal()
        })?;
        ToolAnswer::of_resource(&self.app, body).await
    }

    /// A problem's detail and its JSON; a limit that was reached is counted.
    fn told(&self, mut problem: Problem) -> (String, String) {
        self.app.limits_hit.count(problem.code());
        let text = problem.text(None, &self.app.redactor);
        (problem.detail().to_owned(), text)
    }
}

/// What an error without a reason says.
const PANICKED: &str = "the request failed; the log gives the reason";

/// Ends also where the work panics.
async fn guarded<T>(
    work: impl Future<Output = Result<T, ErrorData>> + Send,
) -> Result<T, ErrorData> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done,
        Err(panic) => {
            let reason = middleware::panic_text(&*panic);
            tracing::error!(reason, "an MCP request panicked");
            Err(ErrorData::internal_error(PANICKED, None))
        }
    }
}
