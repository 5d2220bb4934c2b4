// Shows the document of this server. Asks nobody else: no validator, no fonts.
window.onload = () => {
  SwaggerUIBundle({
    url: "api/openapi.json",
    dom_id: "#page",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    docExpansion: "list",
    validatorUrl: null,
  });
};
