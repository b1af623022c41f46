"""The REST API over the ledger, for Django REST framework."""
