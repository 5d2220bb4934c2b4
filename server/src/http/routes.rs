//! The routes: which handler answers which request, in one list: the router is made from it, and the
//! OpenAPI document is compared with it.

use super::connection::Connection;
use super::problem::Problem;
use super::{
    App, answer_get, asyncapi, audit, batch, boards, catalogue, dead_letters, docs, events,
    events_back, fields, health, letter_replay, mcp, metrics, middleware, openapi, orders, page,
    plugins, preview, problems, sections, sse_events, sse_metric, status, stored, versions, ws,
};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{BoxError, Router};
use bytes::Bytes;
use hyper::body::Body as HttpBody;
use std::sync::Arc;
use tower::Service;

/// The path for questions to metrics.
const METRICS: &str = "/api/metrics";

/// All routes.
#[derive(Clone)]
pub(crate) struct Routes {
    app: Arc<App>,
    router: Router,
}

impl Routes {
    pub(crate) fn new(app: &Arc<App>) -> Routes {
        Routes { app: Arc::clone(app), router: router(app) }
    }

    /// What the handlers share.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Answers a request that passed the checks; `connection` is the one that it came on.
    pub(crate) async fn answer<B>(
        &self,
        request: Request<B>,
        connection: Option<&Arc<Connection>>,
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        // The most frequent request bypasses the router, whose boxes would cost more than a cached
        // answer.
        if request.method() == Method::POST && request.uri().path() == METRICS {
            let (parts, body) = request.into_parts();
            return metrics::evaluate(&self.app, &parts.headers, body).await.into_response();
        }
        let mut request = request.map(Body::new);
        if let Some(connection) = connection {
            request.extensions_mut().insert(Arc::clone(connection));
        }
        // Boxed for its size: it would make the future of every request as large.
        match Box::pin(self.router.clone().call(request)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// A path and what it answers.
pub(crate) struct RouteInfo {
    /// As the router reads it: `/api/users/{id}`.
    pub(crate) path: &'static str,
    /// Each method that it takes, in small letters, with the name that the OpenAPI document has for
    /// it; none of a path that is not part of the contract. HEAD is answered wherever GET is.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare the document with it"))]
    pub(crate) operations: &'static [(&'static str, &'static str)],
    handlers: fn() -> MethodRouter<Arc<App>>,
}

/// A route of the contract.
const fn public(
    path: &'static str,
    operations: &'static [(&'static str, &'static str)],
    handlers: fn() -> MethodRouter<Arc<App>>,
) -> RouteInfo {
    RouteInfo { path, operations, handlers }
}

/// A route of the command line of the same version.
const fn internal(path: &'static str, handlers: fn() -> MethodRouter<Arc<App>>) -> RouteInfo {
    RouteInfo { path, operations: &[], handlers }
}

/// Every route.
pub(crate) const ROUTES: &[RouteInfo] = &[
    public("/api/users", &[("get", "listUsers")], || get(catalogue::users)),
    public("/api/users/{id}", &[("get", "getUser")], || get(catalogue::user)),
    public("/api/product", &[("get", "listProducts")], || get(catalogue::products)),
    public("/api/products", &[("get", "listProductsByAlias")], || get(catalogue::products)),
    public("/api/product/{id}", &[("get", "getProduct")], || get(catalogue::product)),
    public("/api/products/{id}", &[("get", "getProductByAlias")], || get(catalogue::product)),
    public(METRICS, &[("get", "listMetrics"), ("post", "ask")], || {
        get(metrics::list).post(evaluate)
    }),
    public("/api/metrics/batch", &[("post", "askSeveral")], || post(batch::answer)),
    public("/api/metrics/{name}", &[("get", "getMetric")], || get(metrics::describe)),
    public("/api/metrics/{name}/answer", &[("get", "askByGet")], || get(answer_get::answer)),
    public("/api/metrics/{name}/stream", &[("get", "watchByStream")], || get(sse_metric::stream)),
    public("/api/metrics/{name}/versions", &[("get", "listRevisions")], || get(versions::list)),
    public("/api/sections", &[("get", "listSections")], || get(sections::list)),
    public("/api/sections/{name}", &[("put", "putSection"), ("delete", "deleteSection")], || {
        put(sections::put).delete(sections::delete)
    }),
    public("/api/plugins", &[("get", "listPlugins")], || get(plugins::list)),
    public("/api/metrics/{name}/promote", &[("post", "promoteRevision")], || post(orders::promote)),
    public("/api/metrics/{name}/rollback", &[("post", "rollBackRevision")], || {
        post(orders::roll_back)
    }),
    public("/api/metrics/{name}/purge", &[("post", "purgeMetric")], || post(orders::purge)),
    public("/api/boards", &[("get", "listBoards")], || get(boards::list)),
    public("/api/boards/{name}", &[("get", "getBoard")], || get(boards::show)),
    internal("/api/internal/partitions/{partition}/skip/{offset}", || post(orders::skip)),
    internal("/api/internal/clock/accept", || post(orders::accept_clock)),
    public("/api/dead-letters", &[("get", "listDeadLetters")], || get(dead_letters::list)),
    public("/api/dead-letters/replay", &[("post", "replayDeadLetters")], || {
        post(letter_replay::replay)
    }),
    public("/api/status", &[("get", "getStatus")], || get(status::show)),
    internal("/api/internal/events", || get(audit::events)),
    internal("/api/internal/log", || get(audit::log)),
    internal("/api/internal/state/{metric}", || get(audit::state)),
    internal("/api/internal/tables", || get(stored::tables)),
    internal("/api/internal/stored", || get(stored::metrics)),
    internal("/api/internal/stored/{metric}/{table}/{key}", || get(stored::rows)),
    public("/api/events", &[("get", "listEvents"), ("post", "appendEvents")], || {
        get(events_back::list).post(events::append)
    }),
    public("/api/records/{partition}/{offset}", &[("get", "getRecord")], || {
        get(events_back::record)
    }),
    public("/api/fields", &[("get", "listFields")], || get(fields::list)),
    public("/api/preview", &[("post", "previewMetric")], || post(preview::preview)),
    public("/api/events/stream", &[("get", "followEvents")], || get(sse_events::stream)),
    public("/mcp", &[("post", "callMcp")], || post(mcp::answer)),
    public("/ws", &[("get", "openSocket")], || get(ws::upgrade)),
    public("/livez", &[("get", "getLiveness")], || get(health::live)),
    public("/readyz", &[("get", "getReadiness")], || get(health::ready)),
    public("/metrics", &[("get", "getFigures")], || get(health::metrics)),
    public("/problems", &[("get", "listProblems")], || get(problems::list)),
    public("/problems/{code}", &[("get", "getProblem")], || get(problems::describe)),
    public("/api/openapi.json", &[("get", "getOpenApi")], || get(openapi::show)),
    public("/api/asyncapi.json", &[("get", "getAsyncApi")], || get(asyncapi::show)),
    public("/", &[("get", "getPage")], || get(page::index)),
    public("/docs", &[("get", "getDocs")], || get(docs::page)),
    public("/docs/{file}", &[("get", "getDocsFile")], || get(docs::file)),
];

fn router(app: &Arc<App>) -> Router {
    let routes = ROUTES
        .iter()
        .fold(Router::new(), |router, route| router.route(route.path, (route.handlers)()));
    page::add_files(routes)
        .fallback(middleware::not_found)
        .method_not_allowed_fallback(middleware::method_not_allowed)
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(app))
}

/// Never called: the router needs it to know the methods of this route.
async fn evaluate(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    metrics::evaluate(&app, &parts.headers, body).await
}
