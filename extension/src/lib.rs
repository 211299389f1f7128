//! The extension: receives spans inside the Lambda environment and delivers them to X-Ray.
