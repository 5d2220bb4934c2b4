//! The routes: which handler answers which request.

use super::connection::Connection;
use super::problem::Problem;
use super::{
    App, answer_get, audit, batch, catalogue, dead_letters, events, events_back, health, mcp,
    metrics, middleware, problems, replay, sse_events, sse_metric, status, stored, versions, ws,
};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
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

fn router(app: &Arc<App>) -> Router {
    let one = get(catalogue::product);
    let all = get(catalogue::products);
    Router::new()
        .route("/api/users", get(catalogue::users))
        .route("/api/users/{id}", get(catalogue::user))
        .route("/api/product", all.clone())
        .route("/api/products", all)
        .route("/api/product/{id}", one.clone())
        .route("/api/products/{id}", one)
        .route(METRICS, get(metrics::list).post(evaluate))
        .route("/api/metrics/batch", post(batch::answer))
        .route("/api/metrics/{name}", get(metrics::describe))
        .route("/api/metrics/{name}/answer", get(answer_get::answer))
        .route("/api/metrics/{name}/stream", get(sse_metric::stream))
        .route("/api/metrics/{name}/versions", get(versions::list))
        .route("/api/internal/metrics/{name}/{order}", post(versions::order))
        .route("/api/internal/partitions/{partition}/skip/{offset}", post(versions::skip))
        .route("/api/internal/clock/accept", post(versions::accept_clock))
        .route("/api/dead-letters", get(dead_letters::list))
        .route("/api/dead-letters/replay", post(replay::replay))
        .route("/api/status", get(status::show))
        .route("/api/internal/events", get(audit::events))
        .route("/api/internal/log", get(audit::log))
        .route("/api/internal/state/{metric}", get(audit::state))
        .route("/api/internal/tables", get(stored::tables))
        .route("/api/internal/stored", get(stored::metrics))
        .route("/api/internal/stored/{metric}/{table}/{key}", get(stored::rows))
        .route("/api/events", get(events_back::list).post(events::append))
        .route("/api/records/{partition}/{offset}", get(events_back::record))
        .route("/api/events/stream", get(sse_events::stream))
        .route("/mcp", post(mcp::answer))
        .route("/ws", get(ws::upgrade))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/problems", get(problems::list))
        .route("/problems/{code}", get(problems::describe))
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
